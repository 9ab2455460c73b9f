# bash completion for hotplugctl
#
# Words of the command line are completed from the tool's own lists; process and node numbers from
# what the chosen process answers. A process that does not answer completes nothing.

_hotplugctl_pids()
{
	hotplugctl list -n -o PID 2>/dev/null | tr -d ' '
}

# The nodes of the process that the words typed so far select.
_hotplugctl_nodes()
{
	local -a target=()
	local i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-p | -s) target=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}") ;;
		esac
	done
	hotplugctl "${target[@]}" status -n -o NODE 2>/dev/null | tr -d ' '
}

_hotplugctl_options()
{
	case $1 in
	offline) echo "--policy --timeout --to --max-stall --whole-process --detach -b" ;;
	online) echo "--rebalance -b" ;;
	events) echo "--since --no-follow" ;;
	storm) echo "--seed --duration --rate --policy --requests --clients" ;;
	list | status | why | slabinfo | options) echo "-o -n -b" ;;
	plan | drain | cordon | uncordon | cancel | topology) echo "-b" ;;
	esac
}

_hotplugctl_columns()
{
	case $1 in
	list) echo "PID COMMAND NODES LIVE CACHED SOCKET" ;;
	status) echo "PID COMMAND NODE STATE CPUS CAPACITY LIVE CACHED SLABS LARGE LOCAL%" \
		"RESIDENT ELSEWHERE OTHER HIT MISS FOREIGN FALLBACK" ;;
	slabinfo) echo "PID COMMAND CACHE NODE ACTIVE NUM SIZE PER FULL PART FREE CPU SHARED ALIEN" ;;
	options) echo "PID COMMAND NAME TYPE VALUE DEFAULT HELP" ;;
	why) echo "PID COMMAND CACHE OBJECTS SLABS BYTES" ;;
	esac
}

# The first word that is neither an option nor the value of one.
_hotplugctl_command()
{
	local i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-p | -s | -o | --policy | --timeout | --to | --max-stall | --since | --seed | \
			--duration | --rate | --requests | --clients) ((i++)) ;;
		-*) ;;
		*)
			echo "${COMP_WORDS[i]}"
			return
			;;
		esac
	done
}

_hotplugctl()
{
	local commands="list status offline online cordon uncordon cancel plan why drain slabinfo
		topology events storm fault options version help"
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command words

	command=$(_hotplugctl_command)
	case $previous in
	-p | --pid) words=$(_hotplugctl_pids) ;;
	-s | --socket)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--policy) words="strict wait migrate" ;;
	--to) words=$(_hotplugctl_nodes) ;;
	-o) words=$(_hotplugctl_columns "$command") ;;
	--timeout | --max-stall | --since | --seed | --duration | --rate | --requests | --clients)
		return
		;;
	*)
		if [[ -z $command ]]; then
			words="$commands -p -a -s --json --help --version"
		elif [[ $word == -* ]]; then
			words="$(_hotplugctl_options "$command") --json"
		elif [[ $command == help ]]; then
			words=$commands
		else
			case $command in
			offline | online | cordon | uncordon | cancel | plan | why | drain | slabinfo)
				words=$(_hotplugctl_nodes)
				;;
			esac
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _hotplugctl hotplugctl
