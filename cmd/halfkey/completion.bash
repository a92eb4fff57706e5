# bash completion for halfkey. Load it with: source <(halfkey completion bash)
_halfkey() {
  local line="${COMP_LINE:0:COMP_POINT}" words word typed reply
  read -r -a words <<<"$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  word="${words[${#words[@]}-1]}"
  # bash has split the word at characters like @ and =, and replaces its last part only.
  typed="${word%"${COMP_WORDS[COMP_CWORD]}"}"
  COMPREPLY=()
  while IFS= read -r reply; do
    [[ -n "$reply" ]] && COMPREPLY+=("${reply#"$typed"}")
  done < <(command "${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _halfkey halfkey
