#compdef halfkey
# zsh completion for halfkey. Load it with: source <(halfkey completion zsh)
_halfkey() {
  local -a replies
  replies=("${(@f)$(command "${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${replies[1]}" ]]; then
    compadd -- "${replies[@]}"
  else
    [[ "$PREFIX" == --*=* ]] && compset -P '*='
    _files
  fi
}
compdef _halfkey halfkey
