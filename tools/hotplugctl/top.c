/*
 * The command top: a live screen. Three connections to the process: one for the nodes and one for
 * the caches, asked again each second, and one that follows its events, so that a transition shows
 * when it happens, however short it is. A process that is stopped or has ended leaves its last
 * figures on the screen, with a line that says so; only the operator ends the screen.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hotplugctl.h"
#include "json.h"
#include "result.h"
#include "target.h"
#include "top.h"
#include "util.h"

#define ANSWER_TIMEOUT_MS 3000
#define TICK_MS		  100
#define PAGE		  10

enum { NODES, CACHES, EVENTS, NR_SESSIONS };

struct top {
	struct top_view view;
	struct targets targets;
	struct session sessions[NR_SESSIONS];
	struct exchange exchange;
	uint64_t asked;	     /* when the figures were asked for */
	uint64_t last_event; /* its number */
	bool leaving;
	bool stale; /* the screen */
	bool gone;  /* the process: nothing is asked any more */
};

static void set_problem(struct top *top, const char *text)
{
	free(top->view.problem);
	top->view.problem = text ? copy_text(text) : NULL;
	top->stale = true;
}

static void forget(struct top *top)
{
	struct top_view *view = &top->view;

	for (int i = 0; i < NR_SESSIONS; i++) {
		close_session(&top->sessions[i]);
		json_decref(top->sessions[i].hello);
		json_decref(top->sessions[i].progress);
		json_decref(top->sessions[i].reply);
	}
	for (size_t i = 0; i < TOP_EVENTS; i++) {
		json_decref(view->events[i].event);
		view->events[i].event = NULL;
	}
	json_decref(view->status);
	json_decref(view->caches);
	view->status = view->caches = NULL;
	view->nr_events = view->first_cache = view->first_node = 0;
	set_problem(top, NULL);
	top->last_event = 0;
	top->gone = false;
}

/* Points everything at one of the processes; the requests go out by the exchange or the next tick.
 */
static void choose_process(struct top *top, size_t chosen)
{
	static const char *const requests[NR_SESSIONS] = {"status", "slabinfo", "events follow=1"};
	struct process *process = &top->targets.processes.items[chosen];

	forget(top);
	top->view.process = process;
	top->view.chosen = chosen;
	top->asked = now_ms();
	for (int i = 0; i < NR_SESSIONS; i++)
		top->sessions[i] = (struct session){
			.process = process,
			.request = requests[i],
			.timeout_ms = i == EVENTS ? 0 : ANSWER_TIMEOUT_MS,
			.fd = -1,
			.kept = true,
			.done = true,
		};
}

/* The node's row becomes what the event says, until the next answer tells the rest. */
static void apply_event(struct top *top, const json_t *event)
{
	const json_t *nodes = field_array(top->view.status, "nodes");

	for (size_t i = 0; i < json_array_size(nodes); i++) {
		json_t *row = json_array_get(nodes, i);

		if (field_count(row, "node") == field_count(event, "node"))
			json_object_set(row, "state", json_object_get(event, "to"));
	}
}

/* In ms; those from before the screen was opened are history and do not stand out. */
static uint64_t event_age(const json_t *event)
{
	struct timespec now;
	double age;

	clock_gettime(CLOCK_REALTIME, &now);
	age = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - field_number(event, "time", 0);
	return age <= 0 ? 0 : age > TOP_FRESH_MS ? TOP_FRESH_MS : (uint64_t)(age * 1000);
}

static bool on_object(struct session *session, json_t *object, void *data)
{
	struct top *top = data;
	struct top_event *place = &top->view.events[top->view.nr_events % TOP_EVENTS];

	if (session != &top->sessions[EVENTS] || !field_present(object, "seq"))
		return false;
	/* A new connection begins with what is remembered. */
	if (field_count(object, "seq") <= top->last_event)
		return true;
	top->last_event = field_count(object, "seq");
	json_decref(place->event);
	place->event = json_incref(object);
	place->seen = now_ms() - event_age(object);
	top->view.nr_events++;
	if (now_ms() - place->seen < TOP_FRESH_MS)
		apply_event(top, object);
	top->stale = true;
	return true;
}

/* Takes an answer over; true when it was one. */
static bool take_answer(struct top *top, int which, json_t **place)
{
	struct session *session = &top->sessions[which];

	if (!session->done || !session->reply)
		return false;
	if (session->code == EXIT_DONE) {
		json_decref(*place);
		*place = json_incref(session->reply);
	} else if (!top->gone) {
		char *text = failure_text(session->reply);

		set_problem(top, text);
		free(text);
	}
	json_decref(session->reply);
	session->reply = NULL;
	top->stale = true;
	return session->code == EXIT_DONE;
}

static void take_answers(struct top *top)
{
	pid_t pid = top->view.process->pid;
	json_t *nothing = NULL;

	if (take_answer(top, NODES, &top->view.status))
		set_problem(top, NULL);
	take_answer(top, CACHES, &top->view.caches);
	take_answer(top, EVENTS, &nothing);
	json_decref(nothing);
	if (pid && !top->gone && !process_exists(pid)) {
		top->gone = true;
		set_problem(top, "the process has ended; these are its last figures");
	}
}

/*
 * A stopped process is not asked: each attempt would take one of the few places in which its
 * connections wait, and the screen could then hang in connect.
 */
static void ask(struct top *top)
{
	pid_t pid = top->view.process->pid;

	if (top->gone || (top->view.paused && top->view.status) ||
	    now_ms() - top->asked <
		    (top->view.status || top->view.problem ? top->view.delay_ms : TICK_MS))
		return;
	if (pid && process_stopped(pid)) {
		if (!top->view.problem)
			set_problem(top, "the process is stopped; SIGCONT lets it go on");
		return;
	}
	top->asked = now_ms();
	for (int i = 0; i < NR_SESSIONS; i++)
		if (top->sessions[i].done)
			ask_session(&top->sessions[i], &top->exchange);
}

static void scroll(size_t *first, long step)
{
	if (step < 0 && *first < (size_t)-step)
		*first = 0;
	else
		*first += (size_t)step; /* the screen knows where the end is */
}

static void change_delay(struct top *top, bool longer)
{
	static const uint64_t delays[] = {100, 200, 500, 1000, 2000, 5000, 10000};
	size_t count = sizeof(delays) / sizeof(delays[0]);
	uint64_t *delay = &top->view.delay_ms;

	for (size_t i = 0; longer && i < count; i++) {
		if (delays[i] > *delay) {
			*delay = delays[i];
			break;
		}
	}
	for (size_t i = count; !longer && i-- > 0;) {
		if (delays[i] < *delay) {
			*delay = delays[i];
			break;
		}
	}
}

static void press(struct top *top, int key)
{
	struct top_view *view = &top->view;

	top->stale = true;
	switch (key) {
	case 'q':
		top->leaving = true;
		break;
	case 'p':
	case ' ':
		view->paused = !view->paused;
		break;
	case 'd':
		view->by_node = !view->by_node;
		view->first_cache = 0;
		break;
	case 'h':
	case '?':
		view->help = !view->help;
		break;
	case '+':
	case '-':
		change_delay(top, key == '+');
		break;
	case '\t':
		if (view->processes > 1)
			choose_process(top, (view->chosen + 1) % view->processes);
		break;
	case TOP_UP:
	case TOP_DOWN:
		scroll(&view->first_cache, key == TOP_UP ? -1 : 1);
		break;
	case TOP_PAGE_UP:
	case TOP_PAGE_DOWN:
		scroll(&view->first_cache, key == TOP_PAGE_UP ? -PAGE : PAGE);
		break;
	case '[':
	case ']':
		scroll(&view->first_node, key == '[' ? -1 : 1);
		break;
	default:
		choose_order(view, key);
	}
}

/* The terminal went away (an ssh that broke off): stdin is readable and has nothing. */
static void on_input(void *data)
{
	struct top *top = data;
	int key = read_key();

	if (key == TOP_NO_KEY)
		top->leaving = !isatty(STDIN_FILENO);
	for (; key != TOP_NO_KEY; key = read_key())
		press(top, key);
}

/* A change stands out for some seconds; then it has to be drawn once more. */
static bool fading(const struct top_view *view)
{
	size_t last = (view->nr_events + TOP_EVENTS - 1) % TOP_EVENTS;

	return view->nr_events && now_ms() - view->events[last].seen < TOP_FRESH_MS + 2 * TICK_MS;
}

static void on_tick(struct session *sessions, size_t count, void *data)
{
	struct top *top = data;
	int key = read_key(); /* also a change of the screen's size, which comes as a signal */

	(void)sessions;
	(void)count;
	for (; key != TOP_NO_KEY; key = read_key())
		press(top, key);
	take_answers(top);
	ask(top);
	if (!top->stale && !fading(&top->view))
		return;
	draw_screen(&top->view);
	top->stale = false;
}

static void on_leave(struct session *sessions, size_t count, void *data)
{
	struct top *top = data;

	(void)sessions;
	(void)count;
	top->leaving = true;
}

static bool finished(void *data)
{
	const struct top *top = data;

	return top->leaving;
}

static bool read_delay(const struct context *context, uint64_t *delay_ms)
{
	const char *text = context->set.delay;
	double seconds;

	*delay_ms = 1000;
	if (!text)
		return true;
	if (!parse_number(text, &seconds) || seconds < 0.1 || seconds > TOP_MAX_DELAY_S) {
		complain("--delay takes seconds from 0.1 to %d, not '%s'", TOP_MAX_DELAY_S, text);
		return false;
	}
	*delay_ms = (uint64_t)(seconds * 1000);
	return true;
}

static int refuse_screen(const char *why)
{
	complain("top needs a terminal%s; 'hotplugctl status' and 'hotplugctl slabinfo' print the "
		 "same once, 'hotplugctl events' follows transitions",
		 why);
	return EXIT_USAGE;
}

int run_top(struct context *context)
{
	struct top top = {.stale = true};
	int code;

	for (int i = 0; i < NR_SESSIONS; i++)
		top.sessions[i].fd = -1;
	top.exchange = (struct exchange){
		.on_object = on_object,
		.on_tick = on_tick,
		.on_interrupt = on_leave,
		.tick_ms = TICK_MS,
		.on_input = on_input,
		.finished = finished,
		.data = &top,
	};
	if (!read_delay(context, &top.view.delay_ms))
		return EXIT_USAGE;
	if (context->set.json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return refuse_screen(context->set.json ? " and has no JSON" : "");
	code = select_targets(context, &top.targets);
	if (code != EXIT_DONE)
		return code;
	top.view.processes = top.targets.processes.count;
	choose_process(&top, 0);
	if (!open_screen())
		return refuse_screen(why_no_screen);
	draw_screen(&top.view);
	run_exchange(top.sessions, NR_SESSIONS, &top.exchange);
	close_screen();
	forget(&top);
	return EXIT_DONE;
}
