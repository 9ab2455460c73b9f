/*
 * corruption.c - the frame: a row runs its deed in another process and judges what became of it.
 */
#include "corruption.h"

#include "../proc.h"

#include <signal.h>

static const struct kind *const kinds[] = {
	&foreign,  &metadata,	 &middle, &twice,   &freed, &sized,    &stale,
	&overflow, &overwritten, &caches, &handled, &named, &promises,
};

int level(void)
{
	const char *v = getenv("SLABNODE_HARDENED");

	return v ? atoi(v) : 0;
}

void not_before_level(int from)
{
	if (level() < from)
		check_skip("nothing is promised at this level");
}

/* --- in the deed's process ----------------------------------------------------------------- */

void *expect(void *p, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dprintf(1, "slabnode: %s: %p\n", line, p);
	return opaque(p);
}

void *expect_fault(void *p)
{
	dprintf(1, "SIGSEGV");
	return opaque(p);
}

/* --- in the row's -------------------------------------------------------------------------- */

static void read_all(int fd, char *text, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while (n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(fd);
}

int run_apart(const char *deed, char *expected, char *err, size_t size)
{
	int errpipe[2], outpipe[2], status;
	const char *self = own_path();
	pid_t pid;

	CHECK(pipe(errpipe) == 0 && pipe(outpipe) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(errpipe[1], 2);
		dup2(outpipe[1], 1);
		execl(self, self, deed, NULL);
		_exit(9);
	}
	close(errpipe[1]);
	close(outpipe[1]);
	read_all(errpipe[0], err, size);
	read_all(outpipe[0], expected, size);
	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	return status;
}

/* Cuts off whom the line names as who allocated the object, up to four frames: FILE+0xOFFSET, one
 * behind the other.  Returns the offset of the first, 0: nobody is named. */
static size_t cut_site(char *line)
{
	char *site = strstr(line, ", allocated by "), *at = site, *end;
	size_t offset, first = 0;
	int frames = 0;

	for (; at != NULL && *at != '\n'; at = end) {
		at += strlen(frames == 0 ? ", allocated by " : " < ");
		CHECK_MSG(frames++ < 4 && strstr(at, "+0x") != NULL, "in \"%s\"", line);
		offset = strtoul(strstr(at, "+0x") + 3, &end, 16);
		CHECK_MSG(offset > 0 && (*end == '\n' || strncmp(end, " < ", 3) == 0), "in \"%s\"",
			  line);
		if (frames == 1) {
			CHECK_MSG(strncmp(at, "corruption+", 11) == 0, "in \"%s\"", line);
			first = offset;
		}
	}
	if (site != NULL)
		memcpy(site, "\n", 2);
	return first;
}

/* What a deed wrote behind the line: where the first frame is to lie. */
static void check_site(char *expected, char *err)
{
	char *site = strstr(expected, "\nsite ");
	size_t begin, end, named;

	if (level() < 3) {
		CHECK_MSG(strstr(err, "allocated by") == NULL, "it said \"%s\"", err);
	} else {
		named = cut_site(err);
		if (site != NULL) {
			CHECK(sscanf(site, " site %zx %zx", &begin, &end) == 2);
			CHECK_MSG(named >= begin && named < end,
				  "%#zx is named, not from %#zx to %#zx", named, begin, end);
		}
	}
	if (site != NULL)
		site[1] = '\0';
}

static void check_noticed(int status, char *expected, char *err)
{
	bool fault = strcmp(expected, "SIGSEGV") == 0;

	check_site(expected, err);

	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == (fault ? SIGSEGV : SIGABRT),
		  "status %#x, expected \"%s\", stderr: \"%s\"", (unsigned)status, expected, err);
	CHECK_MSG(strcmp(err, fault ? "" : expected) == 0, "it said \"%s\", not \"%s\"", err,
		  expected);
}

static int judge(const struct misuse *m)
{
	char expected[4096], err[4096], deed[64];
	int status;

	if (level() > m->to || (level() < m->from && m->unsettled))
		check_skip("nothing is promised at this level");
	snprintf(deed, sizeof(deed), "_%s", m->name);
	status = run_apart(deed, expected, err, sizeof(err));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		check_skip("one node");
	if (level() >= m->from)
		check_noticed(status, expected, err);
	else
		CHECK_MSG(status == 0 && err[0] == '\0',
			  "noticed at level %d, not from %d on: status %#x, stderr: \"%s\"",
			  level(), m->from, (unsigned)status, err);
	return 0;
}

/* --- rows ---------------------------------------------------------------------------------- */

static const struct misuse *find(const char *name)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (size_t i = 0; i < kinds[k]->nr_misuses; i++)
			if (strcmp(name, kinds[k]->misuses[i].name) == 0)
				return &kinds[k]->misuses[i];
	return NULL;
}

static const struct row *find_row(const char *name)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (size_t i = 0; i < kinds[k]->nr_rows; i++)
			if (strcmp(name, kinds[k]->rows[i].name) == 0)
				return &kinds[k]->rows[i];
	return NULL;
}

static int list(void)
{
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (size_t i = 0; i < kinds[k]->nr_misuses; i++)
			dprintf(1, "%s\n", kinds[k]->misuses[i].name);
		for (size_t i = 0; i < kinds[k]->nr_rows; i++)
			if (kinds[k]->rows[i].name[0] != '_')
				dprintf(1, "%s\n", kinds[k]->rows[i].name);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc == 2 ? argv[1] : "";
	const struct misuse *deed = find(name[0] == '_' ? name + 1 : name);
	const struct row *row = find_row(name);

	if (strcmp(name, "--list") == 0)
		return list();
	if (!under_slabnode())
		check_skip("only slabnode promises this");
	if (deed != NULL && name[0] != '_')
		return judge(deed);
	if (deed != NULL)
		deed->deed();
	else if (row != NULL)
		row->run();
	else
		dprintf(2, "usage: %s ROW | --list\n", argv[0]);
	return deed == NULL && row == NULL ? 2 : 0;
}
