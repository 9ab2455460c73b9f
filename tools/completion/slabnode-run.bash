# bash completion for slabnode-run
#
# Options are those that `slabnode-run --help` lists; then comes a program with its own arguments,
# completed as if it stood alone where the bash-completion package is loaded.

_slabnode_run()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} i tool words

	tool=$(type -P -- "${1/#\~\//$HOME/}") || return
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--) ((i++)) && break ;;
		--help | --version) ;;
		--*)
			# The value of an option, behind a blank or "=".
			[[ ${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
			((i++))
			;;
		*) break ;;
		esac
	done
	if ((i < COMP_CWORD)) || [[ ${COMP_WORDS[i - 1]} == "--" ]] && declare -F _command_offset >/dev/null; then
		_command_offset "$i"
		return
	fi
	[[ $previous == "=" ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
	[[ $word == "=" ]] && word=""
	case $previous in
	--topology) words="auto synthetic: xml:" ;;
	--policy) words="strict wait migrate" ;;
	--fastpath) words="auto locked" ;;
	--stats) words="exit json:" ;;
	--hardened) words="0 1 2 3" ;;
	--node-capacity | --offline) return ;;
	--library) mapfile -t COMPREPLY < <(compgen -f -- "$word") && return ;;
	*)
		if [[ $word == -* ]]; then
			words=$("$tool" --help | grep -oE -- '--[a-z-]+')
		else
			mapfile -t COMPREPLY < <(compgen -c -- "$word") && return
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _slabnode_run slabnode-run
