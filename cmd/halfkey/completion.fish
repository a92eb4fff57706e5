# fish completion for halfkey. Load it with: halfkey completion fish | source
function __halfkey_complete
  set -l words (commandline -opc) (commandline -ct)
  command $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c halfkey -a '(__halfkey_complete)'
