#compdef netjail
# netjail for zsh: eval "$(netjail completion zsh)" after compinit, or this text as the file
# _netjail in a folder of $fpath.

_netjail() {
	local line
	local -a fields closed open
	for line in "${(@f)$(
		${(Q)~words[1]} completion zsh --offer -- \
			"${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null
	)}"; do
		fields=("${(@ps:\t:)line}")
		case $fields[1] in
		word) closed+=("${fields[2]//:/\\:}:$fields[3]") ;;
		open) open+=("${fields[2]//:/\\:}:$fields[3]") ;;
		file)
			compset -P "${(b)fields[2]}"
			_files
			return
			;;
		command)
			shift $fields[2] words
			((CURRENT -= fields[2]))
			_normal
			return
			;;
		esac
	done
	_describe netjail closed -- open -S ''
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
	_netjail "$@"
else
	compdef _netjail netjail
fi
