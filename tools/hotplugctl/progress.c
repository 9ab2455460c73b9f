/*
 * The progress bar of long commands: one line on stderr, redrawn in place, for the slowest of the
 * processes that are asked. The estimate is for the phase that it names: what is left at the speed
 * so far. Later phases are not guessed.
 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "util.h"

#define BAR_WIDTH 24

static double fraction_of(const struct session *session)
{
	double done = field_number(session->progress, "done", 0);
	double total = field_number(session->progress, "total", 0);

	if (total <= 0 || done < 0)
		return 0;
	return done > total ? 1 : done / total;
}

static const struct session *slowest(const struct session *sessions, size_t count)
{
	const struct session *found = NULL;

	for (size_t i = 0; i < count; i++)
		if (!sessions[i].done && sessions[i].hello &&
		    (!found || fraction_of(&sessions[i]) < fraction_of(found)))
			found = &sessions[i];
	return found;
}

static void follow_phase(struct progress *progress, const char *phase, double done)
{
	if (!strncmp(progress->phase, phase, sizeof(progress->phase) - 1) && progress->phase[0] &&
	    done >= progress->phase_begin)
		return;
	snprintf(progress->phase, sizeof(progress->phase), "%s", phase);
	progress->phase_started = now_ms();
	progress->phase_begin = done;
}

/* "12s left", or "" while nothing is known. */
static char *estimate(const struct progress *progress, const struct session *session)
{
	double left_ms = field_number(session->progress, "estimate_ms", -1);
	double done = field_number(session->progress, "done", 0) - progress->phase_begin;
	double left = field_number(session->progress, "total", 0) -
		      field_number(session->progress, "done", 0);
	uint64_t spent = now_ms() - progress->phase_started;

	if (left_ms < 0 && done > 0 && left > 0 && spent >= 200)
		left_ms = (double)spent * left / done;
	if (left_ms < 0)
		return copy_text("");
	if (left_ms < 60000)
		return format_text("  %.0fs left", left_ms / 1000 + 0.5);
	return format_text("  %.0fm left", left_ms / 60000 + 0.5);
}

static char *bar_text(const struct progress *progress, const struct session *session)
{
	double fraction = fraction_of(session);
	char bar[BAR_WIDTH + 1], *left, *text;

	if (field_number(session->progress, "total", 0) <= 0)
		return format_text("%-14s %.0fs", progress->phase,
				   (double)(now_ms() - session->started) / 1000);
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)(fraction * BAR_WIDTH));
	bar[BAR_WIDTH] = '\0';
	left = estimate(progress, session);
	text = format_text("%-14s [%s] %3.0f%%%s", progress->phase, bar, 100 * fraction, left);
	free(left);
	return text;
}

void draw_progress(struct progress *progress, const struct session *sessions, size_t count)
{
	const struct session *session = slowest(sessions, count);
	char *line, *bar, *who = copy_text("");
	const char *phase;
	size_t done = 0;

	if (!progress->shown || !session)
		goto out;
	phase = field_text(session->progress, "phase");
	follow_phase(progress, phase ? phase : "waiting",
		     field_number(session->progress, "done", 0));
	for (size_t i = 0; i < count; i++)
		done += sessions[i].done;
	if (count > 1)
		append_text(&who, "%zu/%zu done, pid %d: ", done, count,
			    (int)session->process->pid);
	if (field_present(session->progress, "node"))
		append_text(&who, "node %llu ",
			    (unsigned long long)field_count(session->progress, "node"));
	bar = bar_text(progress, session);
	line = clean_text(format_text("%s%s", who, bar));
	fprintf(stderr, "\r%.*s\033[K", output_width(STDERR_FILENO) - 1, line);
	fflush(stderr);
	progress->drawn = true;
	free(line);
	free(bar);
out:
	free(who);
}

void clear_progress(struct progress *progress)
{
	if (!progress->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress->drawn = false;
}
