# netjail for bash: eval "$(netjail completion bash)"

_netjail() {
	local line kind value help
	local -a offers
	COMPREPLY=()
	mapfile -t offers < <(
		"${1/#~\//"$HOME/"}" completion bash --offer -- \
			"${COMP_LINE:0:COMP_POINT}" "$2" "${COMP_WORDS[@]:0:COMP_CWORD}" 2>/dev/null
	)
	for line in "${offers[@]}"; do
		IFS=$'\t' read -r kind value help <<<"$line"
		case $kind in
		word) COMPREPLY+=("$value") ;;
		open)
			compopt -o nospace
			COMPREPLY+=("$value")
			;;
		file) _netjail_files "$value" "$2" ;;
		command) _netjail_command "$value" "$2" ;;
		esac
	done
}

# The files at what follows $1 in the word $2.
_netjail_files() {
	local file
	if [[ -z $1 ]]; then
		compopt -o default
		return
	fi
	while read -r file; do
		if [[ -d $file ]]; then
			compopt -o nospace
			file+=/
		fi
		printf -v file '%s%q' "$1" "$file"
		COMPREPLY+=("$file")
	done < <(compgen -f -- "${2#"$1"}")
}

# What the command that begins at word $1 takes; bash-completion, where it is loaded, knows.
_netjail_command() {
	if declare -F _comp_command_offset >/dev/null; then
		_comp_command_offset "$1"
	elif declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif ((COMP_CWORD > $1)); then
		compopt -o default
	elif [[ $2 == */* ]]; then
		compopt -o default
	else
		mapfile -t COMPREPLY < <(compgen -c -- "$2" | sort -u)
	fi
}

complete -F _netjail netjail
