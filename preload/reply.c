/*
 * reply.c - buffers and the JSON writer: see reply.h.
 */
#include <string.h>
#include <sys/mman.h>

#include "../core/lifecycle.h"
#include "reply.h"

#define FIRST_CAPACITY ((size_t)4 * SN_PAGE_SIZE)
/* Kept free at the end of a buffer, for the error that replaces what did not fit. */
#define SPARE 256

static _Atomic size_t total_bytes;

void *sn_control_map(size_t size)
{
	size_t length = sn_align_up(size, SN_PAGE_SIZE);
	void *memory =
		mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, length, MADV_DONTFORK);
	return memory;
}

void sn_control_unmap(void *memory, size_t size)
{
	if (memory)
		munmap(memory, sn_align_up(size, SN_PAGE_SIZE));
}

void sn_reply_reset_total(void)
{
	atomic_store_explicit(&total_bytes, 0, memory_order_relaxed);
}

void sn_reply_free(struct sn_reply *reply)
{
	if (reply->data) {
		sn_control_unmap(reply->data, reply->capacity);
		atomic_fetch_sub_explicit(&total_bytes, reply->capacity, memory_order_relaxed);
	}
	*reply = (struct sn_reply){0};
}

static bool grow(struct sn_reply *reply, size_t needed)
{
	size_t capacity = reply->capacity ? reply->capacity : FIRST_CAPACITY;
	size_t more;
	void *data;

	while (capacity < needed)
		capacity *= 2;
	more = capacity - reply->capacity;
	if (capacity > SN_REPLY_MAX)
		return false;
	if (atomic_fetch_add_explicit(&total_bytes, more, memory_order_relaxed) + more >
	    SN_REPLY_TOTAL_MAX)
		goto fail;
	if (!reply->data) {
		data = sn_control_map(capacity);
		if (!data)
			goto fail;
	} else {
		data = mremap(reply->data, reply->capacity, capacity, MREMAP_MAYMOVE);
		if (data == MAP_FAILED)
			goto fail;
	}
	reply->data = data;
	reply->capacity = capacity;
	return true;
fail:
	atomic_fetch_sub_explicit(&total_bytes, more, memory_order_relaxed);
	return false;
}

/* Moves what is yet to be sent to the beginning. */
static void compact(struct sn_reply *reply)
{
	if (reply->sent == 0)
		return;
	memmove(reply->data, reply->data + reply->sent, sn_reply_pending(reply));
	reply->length -= reply->sent;
	reply->line -= sn_min(reply->line, reply->sent);
	reply->sent = 0;
}

bool sn_reply_append(struct sn_reply *reply, const char *data, size_t length)
{
	if (reply->failed)
		return false;
	if (reply->length + length + SPARE > reply->capacity)
		compact(reply);
	if (reply->length + length + SPARE > reply->capacity &&
	    !grow(reply, reply->length + length + SPARE)) {
		reply->failed = true;
		return false;
	}
	memcpy(reply->data + reply->length, data, length);
	reply->length += length;
	return true;
}

void sn_reply_consume(struct sn_reply *reply, size_t length)
{
	reply->sent += length;
	if (sn_reply_pending(reply))
		return;
	/* All is sent: what a large reply needed goes back to the system. */
	if (reply->capacity > FIRST_CAPACITY)
		sn_reply_free(reply);
	reply->length = 0;
	reply->sent = 0;
}

static void put(struct sn_reply *reply, const char *text)
{
	sn_reply_append(reply, text, strlen(text));
}

void sn_json_begin(struct sn_reply *reply)
{
	reply->line = reply->length;
	reply->comma = false;
	reply->failed = false;
	put(reply, "{");
}

void sn_json_end(struct sn_reply *reply)
{
	static const char too_large[] = "{\"ok\":false,\"error\":\"ENOMEM\","
					"\"message\":\"no memory for the reply\"}\n";

	_Static_assert(sizeof(too_large) <= SPARE, "the spare room holds the error");
	put(reply, "}\n");
	if (!reply->failed)
		return;
	reply->length = reply->line;
	if (reply->data && reply->length + sizeof(too_large) <= reply->capacity) {
		memcpy(reply->data + reply->length, too_large, sizeof(too_large) - 1);
		reply->length += sizeof(too_large) - 1;
		reply->failed = false;
	}
}

/*
 * The length of the UTF-8 sequence at `s`, or 0 when it is none (overlong, surrogate, cut).
 * Names of programs and what clients send can be any bytes; JSON cannot.
 */
static unsigned int utf8_length(const unsigned char *s)
{
	unsigned int need;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		need = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		need = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		need = 4;
	else
		return 0;
	for (unsigned int i = 1; i < need; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return need;
}

static void put_control_character(struct sn_reply *reply, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	char escape[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

	sn_reply_append(reply, escape, sizeof(escape));
}

static void put_quoted(struct sn_reply *reply, const char *string)
{
	const unsigned char *s = (const unsigned char *)string;

	put(reply, "\"");
	while (*s) {
		unsigned int length = utf8_length(s);

		if (length == 0) {
			put(reply, "\\ufffd");
			length = 1;
		} else if (*s < 0x20 || *s == 0x7f) {
			put_control_character(reply, *s);
		} else {
			if (*s == '"' || *s == '\\')
				put(reply, "\\");
			sn_reply_append(reply, (const char *)s, length);
		}
		s += length;
	}
	put(reply, "\"");
}

static void key_is(struct sn_reply *reply, const char *key)
{
	if (reply->comma)
		put(reply, ",");
	if (key) {
		put_quoted(reply, key);
		put(reply, ":");
	}
	reply->comma = true;
}

void sn_json_open_object(struct sn_reply *reply, const char *key)
{
	key_is(reply, key);
	put(reply, "{");
	reply->comma = false;
}

void sn_json_close_object(struct sn_reply *reply)
{
	put(reply, "}");
	reply->comma = true;
}

void sn_json_open_array(struct sn_reply *reply, const char *key)
{
	key_is(reply, key);
	put(reply, "[");
	reply->comma = false;
}

void sn_json_close_array(struct sn_reply *reply)
{
	put(reply, "]");
	reply->comma = true;
}

void sn_json_string(struct sn_reply *reply, const char *key, const char *value)
{
	key_is(reply, key);
	put_quoted(reply, value ? value : "");
}

static void put_number(struct sn_reply *reply, uint64_t value)
{
	char digits[20];
	size_t first = sizeof(digits);

	do {
		digits[--first] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	sn_reply_append(reply, digits + first, sizeof(digits) - first);
}

void sn_json_u64(struct sn_reply *reply, const char *key, uint64_t value)
{
	key_is(reply, key);
	put_number(reply, value);
}

void sn_json_i64(struct sn_reply *reply, const char *key, int64_t value)
{
	key_is(reply, key);
	if (value < 0)
		put(reply, "-");
	put_number(reply, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void sn_json_bool(struct sn_reply *reply, const char *key, bool value)
{
	key_is(reply, key);
	put(reply, value ? "true" : "false");
}

void sn_json_null(struct sn_reply *reply, const char *key)
{
	key_is(reply, key);
	put(reply, "null");
}

void sn_json_scaled(struct sn_reply *reply, const char *key, uint64_t value, unsigned int decimals)
{
	char fraction[21];
	uint64_t scale = 1;
	uint64_t rest;

	for (unsigned int i = 0; i < decimals; i++)
		scale *= 10;
	rest = value % scale;
	fraction[0] = '.';
	for (unsigned int i = decimals; i > 0; i--, rest /= 10)
		fraction[i] = (char)('0' + rest % 10);
	key_is(reply, key);
	put_number(reply, value / scale);
	sn_reply_append(reply, fraction, decimals + 1);
}

void sn_json_ms(struct sn_reply *reply, const char *key, double ms)
{
	/* Also what is no number at all becomes 0. */
	double thousandths = ms > 0 && ms < 1e15 ? ms * 1000 + 0.5 : 0;

	sn_json_scaled(reply, key, (uint64_t)thousandths, 3);
}

void sn_json_size(struct sn_reply *reply, const char *key, uint64_t size)
{
	if (size == SIZE_MAX || size == UINT64_MAX)
		sn_json_null(reply, key);
	else
		sn_json_u64(reply, key, size);
}

void sn_json_error(struct sn_reply *reply, int error, const char *message)
{
	sn_json_bool(reply, "ok", false);
	sn_json_string(reply, "error", sn_errno_name(error));
	sn_json_string(reply, "message", message);
}

void sn_reply_error(struct sn_reply *reply, int error, const char *message)
{
	sn_json_begin(reply);
	sn_json_error(reply, error, message);
	sn_json_end(reply);
}

void sn_text_begin(struct sn_text *text, char *buffer, size_t size)
{
	text->at = buffer;
	text->left = size;
	buffer[0] = '\0';
}

void sn_text_add(struct sn_text *text, const char *string)
{
	size_t length = strlen(string);

	if (length >= text->left)
		length = text->left - 1;
	memcpy(text->at, string, length);
	text->at += length;
	text->left -= length;
	*text->at = '\0';
}

void sn_text_number(struct sn_text *text, uint64_t number)
{
	char digits[21];
	size_t first = sizeof(digits) - 1;

	digits[first] = '\0';
	do {
		digits[--first] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	sn_text_add(text, digits + first);
}
