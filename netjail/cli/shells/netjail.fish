# netjail for fish: netjail completion fish > ~/.config/fish/completions/netjail.fish

function __netjail_offers
    set -l before (commandline -opc)
    set -l typed (commandline -ct)
    set -l netjail (string replace -r '^~/' "$HOME/" -- $before[1])
    for line in ($netjail completion fish --offer -- $before (string unescape -- $typed; or echo -- $typed) 2>/dev/null)
        set -l fields (string split \t -- $line)
        switch $fields[1]
            case word open
                printf '%s\t%s\n' $fields[2] $fields[3]
            case file
                set -l start (math (string length -- $fields[2]) + 1)
                set -l path (string sub -s $start -- $typed)
                for file in (complete -C "'' $path")
                    printf '%s%s\n' $fields[2] $file
                end
            case command
                set -l rest (string escape -- $before[(math $fields[2] + 1)..-1])
                complete -C "$rest $typed"
        end
    end
end

complete -c netjail -f -a '(__netjail_offers)'
