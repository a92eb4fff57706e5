# bash completion for halfkey. Load it with: source <(halfkey completion bash)
_halfkey() {
  local rest="${COMP_LINE:0:COMP_POINT}" words=() last=-1 part typed reply
  # bash has split words at characters like @ and = as well, and replaces the last part only.
  for part in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    if [[ $last -lt 0 || "$rest" == [[:space:]]* ]]; then
      rest="${rest#"${rest%%[![:space:]]*}"}"
      words[++last]=""
    fi
    typed="${words[last]}"
    part="${part:0:${#rest}}"
    words[last]+="$part"
    rest="${rest#"$part"}"
  done
  COMPREPLY=()
  while IFS= read -r reply; do
    [[ -n "$reply" ]] && COMPREPLY+=("${reply#"$typed"}")
  done < <(command "${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _halfkey halfkey
