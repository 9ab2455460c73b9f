# bash completion for hotplugctl
#
# Nothing is listed here: commands, options and columns are what `hotplugctl help` says, processes and
# nodes what the processes answer. In a synopsis, what stands behind an option tells what it takes:
# words between bars are completed as they are, PID, SOCKET, FILE, M,... and COLUMN,... by their names.
# A process that does not answer completes nothing.

# The synopsis of a command, on one line; of hotplugctl itself without one.
_hotplugctl_synopsis()
{
	"$tool" help $command 2>/dev/null | sed '/^$/q' | tr '\n' ' '
}

_hotplugctl_commands()
{
	"$tool" help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

_hotplugctl_columns()
{
	"$tool" help $command 2>/dev/null | tr '\n' ' ' | sed -n 's/.*Columns: \([^.]*\)\..*/\1/p'
}

_hotplugctl_nodes()
{
	"$tool" "${target[@]}" status -n -o NODE 2>/dev/null | sort -nu
}

# The steps of faults, without the errors they fail with.
_hotplugctl_faults()
{
	"$tool" "${target[@]}" fault list 2>/dev/null | sed 's/^note: steps://; s/=[A-Z]*//g'
	echo off list
}

# What stands behind an option in the synopsis; fails when the option takes nothing.
_hotplugctl_value_of()
{
	local synopsis pattern

	case $1 in
	-o | --output) echo "COLUMN,..." && return ;;
	--pid) set -- -p ;;
	--socket) set -- -s ;;
	esac
	synopsis=$(_hotplugctl_synopsis)
	pattern="[[ ]$1 ([^] ]+)"
	[[ $synopsis =~ $pattern && ${BASH_REMATCH[1]} != "|" ]] && echo "${BASH_REMATCH[1]}"
}

# Reads what was typed before the word: sets command and target.
_hotplugctl_read()
{
	local i option

	for ((i = 1; i < COMP_CWORD; i++)); do
		option=${COMP_WORDS[i]}
		case $option in
		-p | --pid | -s | --socket)
			[[ ${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
			target=("${option/#--[ps]*/-${option:2:1}}" "${COMP_WORDS[++i]}")
			;;
		-a | --all) target=(-a) ;;
		-o | --output) ((i++)) ;;
		-*) ;;
		*)
			command=$option
			return
			;;
		esac
	done
}

# Words for a list between commas: only its last part is completed.
_hotplugctl_list()
{
	local before=""

	[[ $word == *,* ]] && before=${word%,*},
	mapfile -t COMPREPLY < <(compgen -P "$before" -W "$*" -- "${word##*,}")
}

# Completes what a synopsis calls by this name.
_hotplugctl_complete()
{
	case $1 in
	PID) mapfile -t COMPREPLY < <(compgen -W "$("$tool" list -n -o PID 2>/dev/null)" -- "$word") ;;
	SOCKET | FILE) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	N | N...) _hotplugctl_list "$(_hotplugctl_nodes)" ;;
	M,...) compopt -o nospace && _hotplugctl_list "$(_hotplugctl_nodes)" ;;
	COLUMN,...) compopt -o nospace && _hotplugctl_list "$(_hotplugctl_columns)" ;;
	COMMAND) mapfile -t COMPREPLY < <(compgen -W "$(_hotplugctl_commands)" -- "$word") ;;
	SPEC) mapfile -t COMPREPLY < <(compgen -W "$(_hotplugctl_faults)" -- "$word") ;;
	P) mapfile -t COMPREPLY < <(compgen -W "strict wait migrate" -- "$word") ;;
	*[a-z]"|"*) mapfile -t COMPREPLY < <(compgen -W "${1//|/ }" -- "$word") ;;
	esac
}

_hotplugctl_options()
{
	local -a options=(-p -a -s --json)

	[[ -z $command ]] && options+=(--pid --all --socket --help --version)
	mapfile -t -O ${#options[@]} options < <(_hotplugctl_synopsis | grep -oE -- '[[ ]--?[a-z-]+' |
		tr -d '[ ')
	mapfile -t COMPREPLY < <(compgen -W "${options[*]}" -- "$word" | sort -u)
}

_hotplugctl()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} tool command value
	local -a target=()

	tool=$(type -P -- "${1/#\~\//$HOME/}") || return
	# --option=value is three words to bash.
	if [[ $word == "=" ]]; then
		word=""
	elif [[ $previous == "=" ]]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	_hotplugctl_read
	if [[ " ${COMP_WORDS[*]:1:COMP_CWORD-1} " == *" -- "* ]]; then
		# Another command, which --kernel runs.
		mapfile -t COMPREPLY < <(compgen -c -- "$word")
	elif [[ $previous == -* ]] && value=$(_hotplugctl_value_of "$previous"); then
		_hotplugctl_complete "$value"
	elif [[ $word == -* ]]; then
		_hotplugctl_options
	elif [[ -z $command ]]; then
		_hotplugctl_complete COMMAND
	else
		# What the command itself takes stands first in its synopsis.
		value=$(_hotplugctl_synopsis)
		value=${value#*" $command "}
		value=${value%% *}
		_hotplugctl_complete "${value//[][]/}"
	fi
}

complete -F _hotplugctl hotplugctl
