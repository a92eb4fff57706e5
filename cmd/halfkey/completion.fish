# fish completion for halfkey. Load it with: halfkey completion fish | source
function __halfkey_complete
  set -l word (commandline -ct)
  set -l words (commandline -opc) $word
  set -l replies (command $words[1] __complete -- $words[2..-1] 2>/dev/null)
  if set -q replies[1]
    printf '%s\n' $replies
  else
    # A file, also as the value in --flag=value.
    set -l flag (string replace -rf '^(--[^=]+=).*' '$1' -- $word; or echo)
    printf '%s\n' $flag(__fish_complete_path (string sub -s (math (string length -- "$flag") + 1) -- $word))
  end
end
complete -c halfkey -f -a '(__halfkey_complete)'
