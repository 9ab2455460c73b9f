/*
 * command.h - the requests of the control socket.
 */
#ifndef SLABNODE_COMMAND_H
#define SLABNODE_COMMAND_H

#include "client.h"

/* Carries out one line, which it may write on: appends to the client's output, starts an
 * operation for the client, or lets it follow the events. */
void sn_command(struct sn_client *client, char *line, size_t length);
/* Appends the events that a following client has not had. */
void sn_command_follow(struct sn_client *client);

#endif
