/*
 * The progress bar of long commands: one line on stderr, redrawn in place, for the slowest of the
 * processes that are asked. Rate and estimate are for the phase that it names: what was done and
 * what is left of it at the speed so far. Later phases are not guessed.
 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "util.h"

#define SMALLEST_BAR 6
#define LARGEST_BAR  30
#define TEXT_WIDTH   60 /* of everything beside the bar */
/* A rate of the first moments would jump about. */
#define RATE_AFTER_MS 200

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

/* What the phase counts. */
static char *amount_text(const char *phase, double amount)
{
	if (!strcmp(phase, "migrate") || !strcmp(phase, "kernel"))
		return format_bytes((uint64_t)amount, false);
	return format_text("%.0f", amount);
}

/* "  126M of 300M  250M/s  2s left", as far as it is known. */
static char *pace_text(const struct progress *progress, const struct session *session)
{
	double done = field_number(session->progress, "done", 0);
	double total = field_number(session->progress, "total", 0);
	double since = done - progress->phase_begin, rate = 0;
	uint64_t spent = now_ms() - progress->phase_started;
	char *have = amount_text(progress->phase, done), *all = amount_text(progress->phase, total);
	char *text = format_text("  %s of %s", have, all), *speed;

	free(have);
	free(all);
	if (since > 0 && spent >= RATE_AFTER_MS)
		rate = since * 1000 / (double)spent;
	if (rate > 0) {
		speed = amount_text(progress->phase, rate);
		append_text(&text, "  %s/s", speed);
		free(speed);
	}
	if (rate > 0 && total > done) {
		double left = (total - done) / rate;

		if (left < 60)
			append_text(&text, "  %.0fs left", left + 0.5);
		else
			append_text(&text, "  %.0fm left", left / 60 + 0.5);
	}
	return text;
}

static char *bar_text(const struct progress *progress, const struct session *session)
{
	int width = output_width(STDERR_FILENO) - TEXT_WIDTH;
	double fraction = fraction_of(session);
	char bar[LARGEST_BAR + 1], *pace, *text;

	if (field_number(session->progress, "total", 0) <= 0)
		return format_text("%-8s %.0fs", progress->phase,
				   (double)(now_ms() - session->started) / 1000);
	width = width < SMALLEST_BAR ? SMALLEST_BAR : width > LARGEST_BAR ? LARGEST_BAR : width;
	memset(bar, '.', (size_t)width);
	memset(bar, '#', (size_t)(fraction * width));
	bar[width] = '\0';
	pace = pace_text(progress, session);
	text = format_text("%-8s [%s] %3.0f%%%s", progress->phase, bar, 100 * fraction, pace);
	free(pace);
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
