# bash completion for lxmgr; lxmgr itself knows the candidates.
_lxmgr() {
	local IFS=$'\n' cur words cword
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n := -w words -i cword cur
	else
		words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]}
	fi
	COMPREPLY=($("${words[0]}" __complete -- "${words[@]:1:cword}" 2>/dev/null))
	if ((${#COMPREPLY[@]} == 0)); then
		# Nothing of ours fits: files, as for any command.
		compopt -o default 2>/dev/null
		return
	fi
	declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
}
complete -F _lxmgr lxmgr
