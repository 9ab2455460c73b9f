/*
 * reply.h - a growing buffer of bytes on its way to a client, and a JSON writer into it.
 *
 * The memory comes from mmap, never from the heap that the library manages, and does not exist
 * in a forked child (MADV_DONTFORK).  A buffer that may not grow any more is marked `failed` and
 * takes nothing more: the line that was begun is then replaced by an error object as a whole, so
 * that a reader never sees half an object.  It stays marked when there was no room for that.
 *
 * Numbers are written without printf: its decimal point follows the program's locale.
 */
#ifndef SLABNODE_REPLY_H
#define SLABNODE_REPLY_H

#include "../core/base.h"

/* No single buffer grows beyond this, nor all of them together beyond the second. */
#define SN_REPLY_MAX	   ((size_t)16 << 20)
#define SN_REPLY_TOTAL_MAX ((size_t)64 << 20)

struct sn_reply {
	char *data;
	size_t length, capacity;
	size_t sent; /* of length: the beginning that is no longer needed */
	size_t line; /* where the line that is being written began */
	bool comma;  /* a value stands before: the next one needs a comma */
	bool failed;
};

/* Zero-filled memory is an empty buffer. */
void sn_reply_free(struct sn_reply *reply);
bool sn_reply_append(struct sn_reply *reply, const char *data, size_t length);
/* What is yet to be sent, and how much. */
static inline size_t sn_reply_pending(const struct sn_reply *reply)
{
	return reply->length - reply->sent;
}
static inline const char *sn_reply_next(const struct sn_reply *reply)
{
	return reply->data + reply->sent;
}
/* The first `length` bytes of it were sent. */
void sn_reply_consume(struct sn_reply *reply, size_t length);
/* In a forked child, where the memory of all buffers is gone. */
void sn_reply_reset_total(void);

/* Memory for the control thread's own use: zeroed, not inherited by children. */
void *sn_control_map(size_t size);
void sn_control_unmap(void *memory, size_t size);

/* One line is one object: begin, members, end.  A key of NULL is an array's element. */
void sn_json_begin(struct sn_reply *reply);
void sn_json_end(struct sn_reply *reply);
void sn_json_open_object(struct sn_reply *reply, const char *key);
void sn_json_close_object(struct sn_reply *reply);
void sn_json_open_array(struct sn_reply *reply, const char *key);
void sn_json_close_array(struct sn_reply *reply);
void sn_json_string(struct sn_reply *reply, const char *key, const char *value);
void sn_json_u64(struct sn_reply *reply, const char *key, uint64_t value);
void sn_json_i64(struct sn_reply *reply, const char *key, int64_t value);
void sn_json_bool(struct sn_reply *reply, const char *key, bool value);
void sn_json_null(struct sn_reply *reply, const char *key);
/* value / 10^decimals, so that 1234567 with 6 decimals is 1.234567. */
void sn_json_scaled(struct sn_reply *reply, const char *key, uint64_t value, unsigned int decimals);
void sn_json_ms(struct sn_reply *reply, const char *key, double ms);
/* A size, where SIZE_MAX stands for "not limited or unknown" and is null. */
void sn_json_size(struct sn_reply *reply, const char *key, uint64_t size);

/* The members of an error object, between begin and end; error is an errno value of any sign. */
void sn_json_error(struct sn_reply *reply, int error, const char *message);
/* The whole line. */
void sn_reply_error(struct sn_reply *reply, int error, const char *message);

/* Bounded text for messages, without printf. */
struct sn_text {
	char *at;
	size_t left; /* room for the ending NUL included */
};
void sn_text_begin(struct sn_text *text, char *buffer, size_t size);
void sn_text_add(struct sn_text *text, const char *string);
void sn_text_number(struct sn_text *text, uint64_t number);

#endif
