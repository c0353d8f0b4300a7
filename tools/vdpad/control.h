/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket: who may connect, requests, answers, events. See docs/control-socket.md. */
#ifndef VDPAD_CONTROL_H
#define VDPAD_CONTROL_H

#include <stdbool.h>
#include <sys/queue.h>

#include <jansson.h>

#include "tools/vdpad/failure.h"
#include "tools/vdpad/vdpad.h"

enum role {
	ROLE_NONE,
	ROLE_READER,
	ROLE_ADMIN,
};

struct client;
struct control;

/*
 * A request that is being carried out. Its client may go away meanwhile; the request goes on, and
 * its answer is dropped.
 */
struct request {
	struct vdpad *vdpad;
	struct client *client; /* NULL: it is gone */
	json_t *id;	       /* NULL: none was given */
	enum role role;
};

/* control.c */

/** control_open() - the listening socket at RUN/control.sock. 0, or negative with @why. */
int control_open(struct vdpad *v, struct control **ret, struct failure *why);

/** control_serve() - let clients in. */
void control_serve(struct control *control);

/** control_close() - end all connections and remove the socket. NULL is fine. */
void control_close(struct control *control);

/** control_broadcast() - an event for those who monitor; an event_sink. */
void control_broadcast(void *control, json_t *event, const char *name);

/* client.c */

/** client_new() - take over a connection. Return: 0; negative, and @fd is still the caller's. */
int client_new(struct control *control, int fd, enum role role, unsigned int uid, int pid);

/** client_free() - end the connection. */
void client_free(struct client *client);

/** client_monitor() - events for @name, or for all with NULL, follow from now on. */
void client_monitor(struct client *client, const char *name);

/** client_event() - a line for this client, if it monitors @name. */
void client_event(struct client *client, const char *line, size_t size, const char *name);

/** client_who() - "uid 0, process 123". */
const char *client_who(const struct client *client);

/** request_answer() - the result, taken over; ends @q. */
void request_answer(struct request *q, json_t *result);

/** request_fail() - an error; ends @q. */
void request_fail(struct request *q, const struct failure *why);

/* methods.c */

/** method_call() - carry a line of a client out. @params may be NULL. The request ends some time. */
void method_call(struct request *q, const char *method, json_t *params);

/* methods_device.c: what admins do with devices */

int method_dev_add(struct request *q, json_t *params, struct failure *why);
int method_dev_del(struct request *q, json_t *params, struct failure *why);
int method_dev_set(struct request *q, json_t *params, struct failure *why);
int method_dev_upgrade(struct request *q, json_t *params, struct failure *why);

/* methods_show.c: what everybody may ask */

int method_hello(struct request *q, json_t *params, struct failure *why);
int method_mgmtdev_show(struct request *q, json_t *params, struct failure *why);
int method_dev_show(struct request *q, json_t *params, struct failure *why);
int method_dev_config(struct request *q, json_t *params, struct failure *why);
int method_dev_vstats(struct request *q, json_t *params, struct failure *why);
int method_dev_migration(struct request *q, json_t *params, struct failure *why);
int method_dev_status(struct request *q, json_t *params, struct failure *why);

/* methods_dump.c */

int method_dev_dump(struct request *q, json_t *params, struct failure *why);

/** param_text(), param_device() - of checked parameters. param_device() fails with @why. */
const char *param_text(json_t *params, const char *name);
struct device *param_device(struct request *q, json_t *params, struct failure *why);

/* All connections. */
TAILQ_HEAD(client_list, client);
struct control {
	struct vdpad *vdpad;
	int fd;
	sd_event_source *io;
	struct client_list clients;
	unsigned int n_clients;
};

#endif
