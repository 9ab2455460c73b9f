/*
 * slabnode-run: runs a program under libslabnode.so. Options become the library's environment
 * variables, LD_PRELOAD names the library that belongs to this very wrapper (the one in the same
 * build tree or installation), and then the program takes this process over. Exit codes of its own
 * are those of env(1): 125 for itself, 126 and 127 for a program that cannot be run or found.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

enum { OPTION_OFFLINE = 256, OPTION_LIBRARY, OPTION_VARIABLE };

/* Options that only set a variable; their order is that of long_options from OPTION_VARIABLE on. */
static const char *const variables[] = {
	"SLABNODE_TOPOLOGY", "SLABNODE_NODE_CAPACITY", "SLABNODE_OFFLINE_POLICY",
	"SLABNODE_FASTPATH", "SLABNODE_STATS",	       "SLABNODE_HARDENED",
};

static const struct option long_options[] = {
	{"topology", required_argument, NULL, OPTION_VARIABLE + 0},
	{"node-capacity", required_argument, NULL, OPTION_VARIABLE + 1},
	{"policy", required_argument, NULL, OPTION_VARIABLE + 2},
	{"fastpath", required_argument, NULL, OPTION_VARIABLE + 3},
	{"stats", required_argument, NULL, OPTION_VARIABLE + 4},
	{"hardened", required_argument, NULL, OPTION_VARIABLE + 5},
	{"offline", required_argument, NULL, OPTION_OFFLINE},
	{"library", required_argument, NULL, OPTION_LIBRARY},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

/*
 * Where the library lies as seen from the wrapper's own directory: build tree, installations. The
 * latter by the name that stays when the library is upgraded; without the headers there is no
 * other.
 */
static const struct place {
	const char *directory, *name;
} places[] = {
	{"../preload", "libslabnode.so"},
	{SLABNODE_LIBDIR_FROM_BINDIR, SLABNODE_SONAME},
	{"../lib", SLABNODE_SONAME},
};

static _Noreturn void give_up(const char *what, const char *name)
{
	fprintf(stderr, "slabnode-run: %s%s%s\n", what, name ? ": " : "", name ? name : "");
	exit(EXIT_OWN);
}

static _Noreturn void usage(FILE *stream, int code)
{
	fputs("usage: slabnode-run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
	      "Runs PROGRAM with libslabnode.so as its malloc.\n"
	      "\n"
	      "  --topology T       auto, synthetic:DESCRIPTION or xml:FILE\n"
	      "  --node-capacity C  memory of simulated nodes: 0:512M,1:2G, or one size for all\n"
	      "  --offline N        node that is offline from the start; may be repeated\n"
	      "  --policy P         default of 'hotplugctl offline': strict, wait or migrate\n"
	      "  --fastpath F       auto or locked\n"
	      "  --stats S          exit: tables on stderr at the end; json:FILE\n"
	      "  --hardened LEVEL   0 to 3, more checking at more cost\n"
	      "  --library PATH     this library instead of the one beside slabnode-run\n"
	      "  --help, --version\n"
	      "\n"
	      "The program's nodes are then seen and changed with hotplugctl(1).\n",
	      stream);
	exit(code);
}

static void set_variable(const char *name, const char *value)
{
	if (setenv(name, value, 1))
		give_up(strerror(errno), name);
}

static char *join(const char *first, const char *separator, const char *second)
{
	size_t size = strlen(first) + strlen(separator) + strlen(second) + 1;
	char *text = malloc(size);

	if (!text)
		give_up("out of memory", NULL);
	snprintf(text, size, "%s%s%s", first, separator, second);
	return text;
}

/* The directory of this program's own file, whatever it was called as. */
static void own_directory(char *directory, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", directory, size - 1);
	char *slash;

	if (length <= 0)
		give_up("cannot find its own file (is /proc mounted?)", strerror(errno));
	directory[length] = '\0';
	slash = strrchr(directory, '/');
	if (slash)
		*slash = '\0';
}

static char *find_library(void)
{
	char directory[PATH_MAX];

	own_directory(directory, sizeof(directory));
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char *path = join(directory, "/", places[i].directory);
		char *real = realpath(path, NULL);
		char *library = real ? join(real, "/", places[i].name) : NULL;

		free(path);
		free(real);
		if (library && !access(library, R_OK))
			return library;
		free(library);
	}
	if (!access(SLABNODE_LIBDIR "/" SLABNODE_SONAME, R_OK))
		return join(SLABNODE_LIBDIR, "/", SLABNODE_SONAME);
	give_up("libslabnode.so is not beside it; name it with --library PATH", NULL);
}

/* The loader takes a path with a slash as it is, and cannot take one with its separators. */
static void preload(const char *named)
{
	const char *before = getenv("LD_PRELOAD");
	char *library = named ? realpath(named, NULL) : find_library();

	if (!library || access(library, R_OK))
		give_up(strerror(errno), named ? named : library);
	if (strpbrk(library, " :"))
		give_up("LD_PRELOAD cannot hold a path with a space or a colon", library);
	if (before && *before)
		library = join(library, ":", before);
	set_variable("LD_PRELOAD", library);
	free(library);
}

static void add_offline(char **offline, const char *nodes)
{
	if (!*nodes || strspn(nodes, "0123456789,-") != strlen(nodes))
		give_up("--offline takes a node, or a list such as 1,3-4, not", nodes);
	*offline = *offline ? join(*offline, ",", nodes) : join(nodes, "", "");
}

/* Sets what the options say; returns the index of the program's name. */
static int read_options(int argc, char **argv, const char **library)
{
	char *offline = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "+hV", long_options, NULL)) != -1) {
		if (option >= OPTION_VARIABLE)
			set_variable(variables[option - OPTION_VARIABLE], optarg);
		else if (option == OPTION_OFFLINE)
			add_offline(&offline, optarg);
		else if (option == OPTION_LIBRARY)
			*library = optarg;
		else if (option == 'h')
			usage(stdout, EXIT_SUCCESS);
		else if (option == 'V')
			exit(printf("slabnode-run %s\n", SLABNODE_VERSION) < 0 ? EXIT_OWN : 0);
		else
			usage(stderr, EXIT_OWN);
	}
	if (offline)
		set_variable("SLABNODE_OFFLINE", offline);
	free(offline);
	return optind;
}

int main(int argc, char **argv)
{
	const char *library = NULL;
	int program = read_options(argc, argv, &library), error;

	if (program >= argc)
		usage(stderr, EXIT_OWN);
	preload(library);
	execvp(argv[program], argv + program);
	error = errno;
	fprintf(stderr, "slabnode-run: %s: %s\n", argv[program], strerror(error));
	return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
