/*
 * Request lines made of the command line. Everything is checked here that can be checked without
 * the process, so that a typing error is "bad usage" and touches nothing.
 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "exchange.h"

#define MAX_STALL_MS  60000
#define MAX_TIMEOUT_S (60 * 60 * 24 * 365)

/* The nodes among the arguments; false after a complaint. */
bool named_nodes(const struct context *context, struct node_list *list)
{
	*list = (struct node_list){0};
	for (size_t i = 0; i < context->count; i++) {
		if (parse_nodes(context->arguments[i], list))
			continue;
		complain("%s: '%s' is no node; write a number, or a list such as 1,3-4",
			 context->command->name, context->arguments[i]);
		return false;
	}
	if (list->count > 1 && context->command->max_arguments == 1) {
		complain("%s takes one node", context->command->name);
		return false;
	}
	return true;
}

static bool check_policy(const char *policy)
{
	if (!strcmp(policy, "strict") || !strcmp(policy, "wait") || !strcmp(policy, "migrate"))
		return true;
	complain("--policy is strict, wait or migrate, not '%s'", policy);
	return false;
}

static bool check_timeout(const char *text)
{
	double number;

	if (parse_number(text, &number) && number <= MAX_TIMEOUT_S)
		return true;
	complain("--timeout takes seconds, at most a year of them, not '%s'", text);
	return false;
}

static bool check_stall(const char *text)
{
	double number;

	if (parse_number(text, &number) && number >= 1 && number <= MAX_STALL_MS &&
	    !strchr(text, '.'))
		return true;
	complain("--max-stall takes a whole number of milliseconds from 1 to %d, not '%s'",
		 MAX_STALL_MS, text);
	return false;
}

static bool add_targets(const char *to, char **request)
{
	struct node_list list = {0};
	char *joined;

	if (!parse_nodes(to, &list)) {
		complain("--to takes nodes such as 0,2-3, not '%s'", to);
		return false;
	}
	joined = join_nodes(&list, ",");
	append_text(request, " to=%s", joined);
	free(joined);
	free(list.nodes);
	return true;
}

/* The options of offline and online, as key=value; false after a complaint. */
bool add_lifecycle_options(const struct context *context, char **request)
{
	const struct settings *set = &context->set;

	if (set->policy && !check_policy(set->policy))
		return false;
	if (set->timeout && !check_timeout(set->timeout))
		return false;
	if (set->max_stall && !check_stall(set->max_stall))
		return false;
	if (set->policy)
		append_text(request, " policy=%s", set->policy);
	if (set->timeout)
		append_text(request, " timeout=%s", set->timeout);
	if (set->max_stall)
		append_text(request, " max-stall=%s", set->max_stall);
	if (set->to && !add_targets(set->to, request))
		return false;
	if (set->given & OPT_WHOLE_PROCESS)
		append_text(request, " whole-process=1");
	if (set->given & OPT_REBALANCE)
		append_text(request, " rebalance=1");
	if (set->given & OPT_DETACH)
		append_text(request, " detach=1");
	return true;
}

/*
 * "NAME N N key=value"; NULL after a complaint. The nodes are given back where the caller wants
 * them and are then its own.
 */
char *build_request(const char *name, const struct context *context, struct node_list *nodes)
{
	char *request = copy_text(name), *joined;
	struct node_list list;

	if (!named_nodes(context, &list))
		goto refuse;
	joined = join_nodes(&list, " ");
	append_text(&request, "%s%s", *joined ? " " : "", joined);
	free(joined);
	if (!add_lifecycle_options(context, &request))
		goto refuse;
	if (strlen(request) + 1 > MAX_REQUEST) {
		complain("too many nodes for one request; name fewer");
		goto refuse;
	}
	if (nodes)
		*nodes = list;
	else
		free(list.nodes);
	return request;
refuse:
	free(list.nodes);
	free(request);
	return NULL;
}
