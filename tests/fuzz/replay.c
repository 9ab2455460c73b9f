/*
 * replay.c - runs inputs from files: replay [FILE|DIRECTORY]...
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

#define LARGEST_INPUT ((size_t)1 << 20)

static unsigned int count;

static void run_file(const char *path)
{
	uint8_t *data = malloc(LARGEST_INPUT);
	FILE *file = fopen(path, "rb");
	size_t size;
	void *exact;

	if (data == NULL || file == NULL) {
		perror(path);
		exit(1);
	}
	size = fread(data, 1, LARGEST_INPUT, file);
	fclose(file);
	/* As long as the input and no longer: reading behind it is noticed. */
	exact = realloc(data, size > 0 ? size : 1);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	count++;
}

static void run_directory(const char *path)
{
	struct dirent **entries;
	int nr = scandir(path, &entries, NULL, alphasort);
	char name[4096];

	if (nr < 0) {
		run_file(path);
		return;
	}
	for (int i = 0; i < nr; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
			run_file(name);
		}
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_directory(argv[i]);
	printf("%u inputs\n", count);
	return count == 0;
}
