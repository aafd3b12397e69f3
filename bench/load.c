/* load.c: the load client of the benchmarks. One thread, one epoll, raw non-blocking sockets.
 *
 * It is C because the client shares its core with PostgreSQL: at 100,000 frames a second a client in Python would be
 * the thing measured. It knows WebSocket as far as it needs it: its own handshake, masked text frames out, a parser of
 * frame headers in. It decodes no JSON; it looks for "type", "id" and a time token in the body.
 *
 * Two dialects, alike on the wire as far as the client cares:
 *   v1     greenroom.v1: start names the room, the socket is open after `ready` and `live`;
 *   plain  the peers: the room stands in the path, `start` is answered with `ready`, any other frame comes back as it
 *          was sent, to every member, itself included; the durable peers also send an `ack` with the frame's id.
 *
 * Sockets come from a file, one a line: `<room> <token or -> <s or ->`; s makes it a sender.
 *
 * Modes:
 *   fanout   the senders in turn send --rate messages a second, each to the --members of its room (all sockets, if
 *            not given). At most --window messages are on their way to all members; beyond that the sender waits, and
 *            the achieved rate falls behind. Counts those that all members have, and in v1 an ack.
 *   durable  every sender keeps --window messages unacknowledged, for --seconds; counts acks.
 *   idle     opens all sockets, holds them in silence for --seconds. A first few are opened and closed before.
 *   hold     opens all sockets, lets --warm seconds pass, and holds them for --seconds, answering pings.
 *   connect  socket 0 stays; the others connect, start, get ready and close, --count times, --concurrency at once.
 *   presence all sockets are opened and every second one is closed: everybody was here before. Then --rate times a
 *            second one at random comes or goes, for --seconds. The sockets of a room are --members in a row, user number
 *            i + 1 at socket i. With --watch nobody joins a room: each asks by name for all who share it. Counts who is
 *            told of whom, and who should be.
 *
 * With --deflate 1 the client offers permessage-deflate and says something like prose, of which compression has work. It
 * inflates nothing: a compressed frame is one message of the room, and has no latency.
 *
 * Latency is arrival minus the time of the send, taken when recv() returned. The histogram's error is under 1.6 %.
 *
 * What it measures lies between two marks. At each it writes {"mark":"begin"} or {"mark":"end"} and waits for a line
 * (or the end of file) on stdin, so that the harness reads CPU and memory while nothing moves. The last line on stdout
 * is the result as JSON. It exits with 1 and a sentence on stderr if it could not measure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define MILLISECOND 1000000ull
#define OPENING_MAX 32              /* handshakes at once: below hypercorn's default backlog of 100 */
#define STEP_SECONDS_MAX 60         /* opening and draining give up after this long without an end */
#define OPENED_PER_SECOND_MIN 200   /* opening many has so much longer: the first connect of a user is its most costly */
#define CLOSE_SECONDS_MAX 5         /* a server that does not answer a close frame by then is left */
#define FRAME_BYTES_MAX (4u << 20)
#define STAMPS 1024                 /* sends of one socket remembered for their ack; a power of two */
#define WARM_SOCKETS 100            /* idle: opened and closed before the first reading */
#define ERRORS_MAX 100              /* more error replies than this, and the numbers would mean nothing */

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* --- latency histogram: 64 steps to every power of two of microseconds, after HdrHistogram ---------------------- */

#define STEP_BITS 6
#define STEPS (1u << STEP_BITS)
#define BUCKETS (STEPS * 40)

struct histogram {
    uint64_t count, max_us;
    uint32_t buckets[BUCKETS];
};

static void record(struct histogram *h, uint64_t ns) {
    uint64_t us = ns / 1000;
    unsigned octave = us < STEPS ? 0 : 63 - STEP_BITS - (unsigned)__builtin_clzll(us) + 1;
    unsigned bucket = octave == 0 ? (unsigned)us : octave * STEPS + (unsigned)((us >> (octave - 1)) - STEPS);
    h->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    h->count++;
    if (us > h->max_us) h->max_us = us;
}

static double quantile_ms(const struct histogram *h, double q) {
    uint64_t wanted = (uint64_t)(q * (double)h->count + 0.5), seen = 0;
    for (unsigned b = 0; b < BUCKETS; b++) {
        seen += h->buckets[b];
        if (h->buckets[b] == 0 || seen < wanted) continue;
        unsigned octave = b / STEPS, step = b % STEPS;
        double us = octave == 0 ? step : (double)((uint64_t)(STEPS + step) << (octave - 1));
        return us / 1000.0;
    }
    return (double)h->max_us / 1000.0;
}

/* --- options and state ------------------------------------------------------------------------------------------- */

enum mode { FANOUT, DURABLE, IDLE, HOLD, CONNECT, PRESENCE };
#define MODES 6
static const char *const mode_names[MODES] = {"fanout", "durable", "idle", "hold", "connect", "presence"};

/* UPGRADING waits for the 101, STARTING for ready (and live, in v1), CLOSING for the server's close frame. */
enum state { CLOSED, UPGRADING, STARTING, OPEN, CLOSING };

struct conn {
    int fd;
    enum state state;
    bool sender, ready, want_write;
    uint32_t index;
    const char *room, *token;
    uint64_t since;                 /* when the present connect, or the close, began */
    unsigned char *rest;            /* the beginning of a frame that has not come whole */
    size_t rest_bytes;
    unsigned char *unsent;
    size_t unsent_bytes;
    uint64_t sends, acks;
    uint64_t *stamps;               /* when send number n left: stamps[n % STAMPS] */
};

static struct {
    enum mode mode;
    bool v1;
    int port;
    const char *path;
    double rate, seconds, warm_seconds;
    uint32_t window, body_bytes, count, concurrency, members, watch, deflate;
} option = {.path = "/room/%r", .rate = 4, .seconds = 5, .warm_seconds = 1, .window = 64, .body_bytes = 300,
            .count = 1000, .concurrency = 1};

static struct conn *conns;
static uint32_t conn_count;
static struct conn **senders;
static uint32_t sender_count;
static int poller;
static unsigned run_nonce;          /* makes client ids new in every run, also against kept data */

static uint32_t opening, open_conns, finished;      /* finished: connect mode, closed after its ready */
static bool sending;                                /* durable: an ack sets off the next send */
static struct {
    uint64_t sent, delivered, acks, errors, others, lost, close_timeouts, bytes, changes, news, told, to_tell;
    struct histogram delivery, ack, connect;
    char first_error[256];
} seen;

/* --- frames out -------------------------------------------------------------------------------------------------- */

static void watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
}

static void write_bytes(struct conn *c, const unsigned char *bytes, size_t count) {
    ssize_t written = 0;
    if (c->unsent_bytes == 0) {
        written = send(c->fd, bytes, count, MSG_NOSIGNAL);
        if (written < 0 && errno != EAGAIN) return;     /* the read side learns of it and counts the loss */
        if (written < 0) written = 0;
    }
    size_t left = count - (size_t)written;
    if (left == 0) return;
    c->unsent = realloc(c->unsent, c->unsent_bytes + left);
    memcpy(c->unsent + c->unsent_bytes, bytes + written, left);
    c->unsent_bytes += left;
    if (!c->want_write) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    c->want_write = true;
}

static void write_unsent(struct conn *c) {
    ssize_t written = send(c->fd, c->unsent, c->unsent_bytes, MSG_NOSIGNAL);
    if (written < 0) return;
    c->unsent_bytes -= (size_t)written;
    memmove(c->unsent, c->unsent + written, c->unsent_bytes);
    if (c->unsent_bytes > 0) return;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->want_write = false;
}

static void write_frame(struct conn *c, unsigned opcode, const void *payload, size_t count) {
    static const unsigned char mask[4] = {0x5a, 0xc3, 0x17, 0x9e};
    static unsigned char frame[1 << 16];
    size_t head = 2;
    if (count > sizeof frame - 16) fail("a frame of %zu bytes is more than this client sends", count);
    frame[0] = (unsigned char)(0x80 | opcode);
    if (count < 126) {
        frame[1] = (unsigned char)(0x80 | count);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (unsigned char)(count >> 8);
        frame[3] = (unsigned char)count;
        head = 4;
    }
    memcpy(frame + head, mask, 4);
    for (size_t i = 0; i < count; i++) frame[head + 4 + i] = ((const unsigned char *)payload)[i] ^ mask[i & 3];
    write_bytes(c, frame, head + 4 + count);
}

static void send_text(struct conn *c, const char *text) { write_frame(c, 1, text, strlen(text)); }

/* Everybody who sits in the same room, by name. */
static void send_watch(struct conn *c) {
    static char text[1 << 15];
    uint32_t first = c->index - c->index % option.members;
    int n = snprintf(text, sizeof text, "{\"type\":\"watch\",\"data\":{\"users\":[%u", first + 1);
    for (uint32_t i = 1; i < option.members; i++) n += snprintf(text + n, sizeof text - (size_t)n, ",%u", first + i + 1);
    snprintf(text + n, sizeof text - (size_t)n, "]}}");
    send_text(c, text);
}

static void send_start(struct conn *c) {
    char text[256];
    if (option.watch) {
        send_text(c, "{\"type\":\"start\",\"id\":\"s\",\"data\":{}}");
        return;
    }
    snprintf(text, sizeof text,
             "{\"type\":\"start\",\"id\":\"s\",\"data\":{\"rooms\":[{\"r\":%s,\"mode\":\"full\"}],\"device\":\"d%u\"}}",
             c->room, c->index);
    send_text(c, text);
}

/* The body begins with ~t<16 hex digits of nanoseconds>~ : nothing that a JSON writer would escape, and nothing that
 * occurs elsewhere in a frame. */
#define TOKEN_BYTES 19

/* Words in an order that does not repeat: about half of it is left after compression, as of what people write. */
static void write_prose(char *at, size_t count) {
    static const char *const words[32] = {
        "the", "room", "of", "message", "and", "a", "evening", "script", "to", "we", "producer", "is", "draft", "in",
        "tomorrow", "meeting", "it", "budget", "will", "contract", "they", "scene", "on", "yesterday", "with",
        "question", "be", "answer", "for", "director", "at", "rehearsal"};
    static uint32_t chance = 1;                     /* a generator after Numerical Recipes */
    for (size_t done = 0; done < count;) {
        chance = chance * 1664525u + 1013904223u;
        for (const char *letter = words[chance >> 27]; *letter && done < count; letter++) at[done++] = *letter;
        if (done < count) at[done++] = ' ';
    }
}

static void send_message(struct conn *c) {
    static char text[1 << 15];
    uint64_t n = c->sends++, now = now_ns();
    char id[48];
    c->stamps[n % STAMPS] = now;
    snprintf(id, sizeof id, "c%x-%u-%" PRIu64, run_nonce, c->index, n);
    int head = snprintf(text, sizeof text, "{\"type\":\"send\",\"id\":\"%s\",\"room\":%s,\"data\":{\"body\":\"~t%016" PRIx64 "~",
                        id, c->room, now);
    size_t padding = option.body_bytes - TOKEN_BYTES;
    if (option.deflate) write_prose(text + head, padding);
    else memset(text + head, 'x', padding);
    int tail = snprintf(text + head + padding, sizeof text - (size_t)head - padding, "\",\"clientId\":\"%s\"}}", id);
    write_frame(c, 1, text, (size_t)head + padding + (size_t)tail);
    seen.sent++;
}

/* --- the life of a connection ------------------------------------------------------------------------------------ */

static void open_conn(struct conn *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket: %s (raise ulimit -n: %u sockets are wanted)", strerror(errno), conn_count);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->since = now_ns();
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect to 127.0.0.1:%d: %s", option.port, strerror(errno));
    c->state = UPGRADING;
    c->ready = false;
    c->want_write = true;           /* writable means connected; then the request goes out */
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    opening++;
}

static void send_request(struct conn *c) {
    char path[256], request[4096];
    const char *place = strstr(option.path, "%r");
    int fault = 0;
    socklen_t fault_bytes = sizeof fault;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &fault, &fault_bytes) == 0 && fault != 0)
        fail("connect to 127.0.0.1:%d: %s", option.port, strerror(fault));
    if (place != NULL)
        snprintf(path, sizeof path, "%.*s%s%s", (int)(place - option.path), option.path, c->room, place + 2);
    else
        snprintf(path, sizeof path, "%s", option.path);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Z3JlZW5yb29tLWJlbmNoIQ==\r\n",
                     path, option.port);
    if (option.v1)
        n += snprintf(request + n, sizeof request - (size_t)n,
                      "Sec-WebSocket-Protocol: greenroom.v1\r\nAuthorization: Bearer %s\r\n", c->token);
    if (option.deflate)
        n += snprintf(request + n, sizeof request - (size_t)n, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    n += snprintf(request + n, sizeof request - (size_t)n, "\r\n");
    if ((size_t)n >= sizeof request) fail("the token of socket %u is too long", c->index);
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->want_write = false;
    write_bytes(c, (const unsigned char *)request, (size_t)n);
}

static void drop_conn(struct conn *c) {
    close(c->fd);                   /* also takes it out of the epoll: the descriptor has no copies */
    if (c->state == UPGRADING || c->state == STARTING) opening--;
    if (c->state == OPEN) open_conns--;
    c->state = CLOSED;
    c->rest_bytes = c->unsent_bytes = 0;
}

static void close_conn(struct conn *c) {
    static const unsigned char normal[2] = {1000 >> 8, 1000 & 0xff};
    open_conns--;
    c->state = CLOSING;
    c->since = now_ns();
    write_frame(c, 8, normal, sizeof normal);
}

static void opened(struct conn *c, uint64_t now) {
    record(&seen.connect, now - c->since);
    c->state = OPEN;
    opening--;
    open_conns++;
    if (option.watch) send_watch(c);
    if (option.mode != CONNECT || c->index == 0) return;
    close_conn(c);
}

static void note_error(const char *text, size_t count) {
    seen.errors++;
    if (seen.first_error[0] == 0)
        snprintf(seen.first_error, sizeof seen.first_error, "%.*s", (int)count, text);
    if (seen.errors > ERRORS_MAX) fail("more than %d error replies; the first was %s", ERRORS_MAX, seen.first_error);
}

static void lose_conn(struct conn *c, const char *why) {
    if (c->state == UPGRADING || c->state == STARTING)
        fail("socket %u was closed before it was open: %s", c->index, why);
    if (c->state == CLOSING) {
        finished++;
    } else {
        seen.lost++;
        if (seen.first_error[0] == 0) snprintf(seen.first_error, sizeof seen.first_error, "%s", why);
    }
    drop_conn(c);
}

/* --- frames in --------------------------------------------------------------------------------------------------- */

/* Where the string value of a key begins, or NULL. Spaces around the colon are allowed. */
static const char *value_of(const char *text, size_t count, const char *quoted_key, size_t key_bytes) {
    const char *end = text + count, *at = memmem(text, count, quoted_key, key_bytes);
    if (at == NULL) return NULL;
    for (at += key_bytes; at < end && (*at == ' ' || *at == ':'); at++) {}
    return at < end && *at == '"' ? at + 1 : NULL;
}

static bool is(const char *value, const char *end, const char *word) {
    size_t n = strlen(word);
    return value != NULL && (size_t)(end - value) > n && memcmp(value, word, n) == 0 && value[n] == '"';
}

static void got_ack(struct conn *c, const char *text, size_t count, uint64_t now) {
    const char *id = value_of(text, count, "\"id\"", 4);
    unsigned nonce, index;
    uint64_t n;
    seen.acks++;
    c->acks++;
    if (id == NULL || sscanf(id, "c%x-%u-%" SCNu64, &nonce, &index, &n) != 3 || nonce != run_nonce || index != c->index)
        fail("socket %u got an ack that is not its own: %.*s", c->index, (int)count, text);
    if (c->sends - n <= STAMPS) record(&seen.ack, now - c->stamps[n % STAMPS]);
    if (sending) send_message(c);
}

/* A frame may hold several messages; each has one token. */
static bool got_deliveries(const char *text, size_t count, uint64_t now) {
    const char *end = text + count, *at = text;
    bool any = false;
    while ((at = memmem(at, (size_t)(end - at), "~t", 2)) != NULL && end - at >= TOKEN_BYTES) {
        uint64_t sent = strtoull(at + 2, NULL, 16);
        if (sent <= now) record(&seen.delivery, now - sent);
        seen.delivered++;
        any = true;
        at += TOKEN_BYTES;
    }
    return any;
}

/* A presence_diff names each who came or went once. */
static void got_news(const char *text, size_t count) {
    const char *end = text + count, *at = text;
    seen.news++;
    while ((at = memmem(at, (size_t)(end - at), "\"user\":", 7)) != NULL) {
        seen.told++;
        at += 7;
    }
}

static void got_text(struct conn *c, const char *text, size_t count, uint64_t now) {
    const char *end = text + count, *type = value_of(text, count, "\"type\"", 6);
    if (c->state == STARTING) {
        if (is(type, end, "error")) fail("socket %u could not start: %.*s", c->index, (int)count, text);
        if (is(type, end, "ready")) {
            if (memmem(text, count, "\"refused\"", 9)) fail("socket %u may not enter: %.*s", c->index, (int)count, text);
            c->ready = true;
        }
        /* `start` to `ready` is what row 4 counts; the other modes wait until the room is live. */
        if (c->ready && (!option.v1 || option.mode == CONNECT || is(type, end, "live"))) opened(c, now);
        return;
    }
    if (is(type, end, "ack")) got_ack(c, text, count, now);
    else if (is(type, end, "error")) note_error(text, count);
    else if (is(type, end, "presence_diff")) got_news(text, count);
    else if (is(type, end, "ping")) send_text(c, "{\"type\":\"pong\"}");
    else if (!got_deliveries(text, count, now)) seen.others++;
}

static void got_frame(struct conn *c, unsigned opcode, const unsigned char *payload, size_t count, uint64_t now) {
    char why[200];
    switch (opcode) {
    case 1:
        got_text(c, (const char *)payload, count, now);
        return;
    case 8:
        snprintf(why, sizeof why, "close %d %.*s", count >= 2 ? payload[0] << 8 | payload[1] : 1005,
                 (int)(count > 2 ? count - 2 : 0), (const char *)payload + 2);
        lose_conn(c, why);
        return;
    case 9:
        write_frame(c, 10, payload, count);
        return;
    case 10:
        return;
    default:
        fail("socket %u got a frame with opcode %u, which no server here should send", c->index, opcode);
    }
}

/* Returns the bytes used: 0 when the frame has not come whole. */
static size_t take_frame(struct conn *c, const unsigned char *at, size_t count, uint64_t now) {
    if (count < 2) return 0;
    bool compressed = option.deflate && (at[0] & 0x7f) == 0x41;
    if (!(at[0] & 0x80) || ((at[0] & 0x70) && !compressed) || (at[1] & 0x80))
        fail("socket %u got a fragmented, compressed or masked frame", c->index);
    size_t head = 2, length = at[1];
    if (length == 126) {
        if (count < 4) return 0;
        length = (size_t)at[2] << 8 | at[3];
        head = 4;
    } else if (length == 127) {
        if (count < 10) return 0;
        length = 0;
        for (int i = 2; i < 10; i++) length = length << 8 | at[i];
        head = 10;
    }
    if (length > FRAME_BYTES_MAX) fail("socket %u got a frame of %zu bytes", c->index, length);
    if (count - head < length) return 0;
    if (compressed) seen.delivered++;
    else got_frame(c, at[0] & 0x0f, at + head, length, now);
    return head + length;
}

/* Returns the bytes of the answer to the handshake: 0 when it has not come whole. */
static size_t take_handshake(struct conn *c, const char *at, size_t count) {
    const char *end = memmem(at, count, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (memcmp(at, "HTTP/1.1 101", 12) != 0)
        fail("socket %u was refused: %.*s", c->index, (int)(count > 400 ? 400 : count), at);
    c->state = STARTING;
    send_start(c);
    return (size_t)(end - at) + 4;
}

static void readable(struct conn *c) {
    static unsigned char buffer[FRAME_BYTES_MAX + (1 << 18)];
    memcpy(buffer, c->rest, c->rest_bytes);
    ssize_t got = recv(c->fd, buffer + c->rest_bytes, 1 << 18, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        lose_conn(c, got == 0 ? "end of file without a close frame" : strerror(errno));
        return;
    }
    uint64_t now = now_ns();
    size_t have = c->rest_bytes + (size_t)got, used = 0, step;
    c->rest_bytes = 0;
    seen.bytes += (uint64_t)got;
    if (c->state == UPGRADING) {
        used = take_handshake(c, (char *)buffer, have);
    }
    while (c->state > UPGRADING && used < have && (step = take_frame(c, buffer + used, have - used, now)) > 0) used += step;
    if (c->state == CLOSED) return;
    c->rest_bytes = have - used;
    if (c->rest_bytes == 0) return;
    c->rest = realloc(c->rest, c->rest_bytes);
    memcpy(c->rest, buffer + used, c->rest_bytes);
}

static void turn(uint64_t until) {
    static struct epoll_event events[512];
    uint64_t now = now_ns();
    /* Rounded up: a send may be up to 1 ms late, but the client never spins on the core PostgreSQL needs. */
    int timeout_ms = until <= now ? 0 : (int)((until - now + MILLISECOND - 1) / MILLISECOND);
    int n = epoll_wait(poller, events, 512, timeout_ms);
    if (n < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->state == CLOSED) continue;
        if (events[i].events & EPOLLOUT) {
            if (c->unsent_bytes > 0) write_unsent(c);
            else if (c->state == UPGRADING) send_request(c);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
    }
}

/* --- the modes --------------------------------------------------------------------------------------------------- */

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double cpu_begin, cpu_used;
static uint64_t mark_begin, measured;

static void mark(const char *name) {
    char line[64];
    bool begin = strcmp(name, "begin") == 0;
    if (begin && seen.lost + seen.errors > 0)
        fail("%" PRIu64 " sockets lost and %" PRIu64 " errors in the warm-up; the first: %s", seen.lost, seen.errors,
             seen.first_error);
    if (!begin) {
        measured = now_ns() - mark_begin;
        cpu_used = cpu_seconds() - cpu_begin;
    }
    printf("{\"mark\":\"%s\"}\n", name);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) clearerr(stdin);
    if (begin) {
        memset(&seen, 0, sizeof seen);
        cpu_begin = cpu_seconds();
        mark_begin = now_ns();
    }
}

static void open_all(void) {
    unsigned seconds_max = STEP_SECONDS_MAX + conn_count / OPENED_PER_SECOND_MIN;
    uint64_t deadline = now_ns() + seconds_max * SECOND;
    uint32_t next = 0;
    while (next < conn_count || opening > 0) {
        while (next < conn_count && opening < OPENING_MAX) open_conn(&conns[next++]);
        turn(now_ns() + 100 * MILLISECOND);
        if (now_ns() > deadline) fail("after %u s %u of %u sockets are open", seconds_max, open_conns, conn_count);
    }
}

static void quiet(double seconds) {
    uint64_t until = now_ns() + (uint64_t)(seconds * SECOND);
    while (now_ns() < until) turn(until);
}

/* Waits until nothing has come for `silence` ms, or what is expected has come, or `limit` seconds have passed. */
static void drain(uint64_t acks, uint64_t delivered, unsigned silence_ms, unsigned limit_seconds) {
    uint64_t deadline = now_ns() + limit_seconds * SECOND, last = now_ns(), bytes = seen.bytes;
    while (now_ns() < deadline && now_ns() - last < silence_ms * MILLISECOND) {
        if (seen.acks >= acks && seen.delivered >= delivered) return;
        turn(now_ns() + 50 * MILLISECOND);
        if (seen.bytes != bytes) last = now_ns();
        bytes = seen.bytes;
    }
}

/* fanout: messages that are done, durable: acks, both until the senders stopped; connect: connects */
static double per_second;

/* Since then: messages that came to all of their room and, where each is acknowledged, were. */
static uint64_t done(uint64_t acks_before, uint64_t delivered_before, uint64_t audience) {
    uint64_t told = (seen.delivered - delivered_before) / audience, acks = seen.acks - acks_before;
    return option.v1 && acks < told ? acks : told;
}

static void send_at_rate(double seconds) {
    uint64_t audience = option.members ? option.members : open_conns;
    uint64_t interval = (uint64_t)(SECOND / option.rate), start = now_ns(), due = start, until = start + (uint64_t)(seconds * SECOND);
    uint64_t sent_before = seen.sent, delivered_before = seen.delivered, acks_before = seen.acks, turns = 0;
    while (due < until && now_ns() < until) {
        uint64_t wanted = (seen.sent - sent_before) * audience, got = seen.delivered - delivered_before;
        bool may = wanted <= got + (uint64_t)(option.window - 1) * audience;
        if (now_ns() >= due && may) {
            send_message(senders[turns++ % sender_count]);
            due += interval;
        }
        turn(now_ns() >= due && may ? 0 : may ? due : now_ns() + 10 * MILLISECOND);
    }
    per_second = (double)done(acks_before, delivered_before, audience) / ((double)(now_ns() - start) / SECOND);
    drain(option.v1 ? seen.sent : 0, delivered_before + (seen.sent - sent_before) * audience, 2000, 10);
}

static void send_with_window(double seconds) {
    uint64_t start = now_ns(), until = start + (uint64_t)(seconds * SECOND), acks = seen.acks;
    sending = true;
    for (uint32_t i = 0; i < sender_count; i++)
        for (uint32_t w = 0; w < option.window; w++) send_message(senders[i]);
    while (now_ns() < until) turn(until);
    per_second = (double)(seen.acks - acks) / ((double)(now_ns() - start) / SECOND);
    sending = false;
    drain(seen.sent, UINT64_MAX, 300, 10);
}

static void connect_many(uint32_t count) {
    uint64_t start = now_ns(), deadline = start + STEP_SECONDS_MAX * SECOND;
    uint32_t started = 0, next = 1;
    finished = 0;
    while (finished < count) {
        for (; started < count && started - finished < option.concurrency; started++) {
            while (conns[next].state != CLOSED) next = next + 1 < conn_count ? next + 1 : 1;
            open_conn(&conns[next]);
        }
        turn(now_ns() + 100 * MILLISECOND);
        if (now_ns() > deadline) fail("after %d s %u of %u connects were done", STEP_SECONDS_MAX, finished, count);
        for (uint32_t i = 1; i < conn_count; i++) {
            if (conns[i].state != CLOSING || now_ns() - conns[i].since < CLOSE_SECONDS_MAX * SECOND) continue;
            seen.close_timeouts++;
            lose_conn(&conns[i], "");
        }
    }
    per_second = count / ((double)(now_ns() - start) / SECOND);
}

/* One comes or goes: whoever sits in its room and is there is to be told, itself too if it is. */
static void change(struct conn *c) {
    uint32_t first = c->index - c->index % option.members;
    for (uint32_t i = first; i < first + option.members && i < conn_count; i++) seen.to_tell += conns[i].state == OPEN;
    if (c->state == OPEN) {
        seen.to_tell--;
        close_conn(c);
    } else {
        seen.to_tell++;
        open_conn(c);
    }
    seen.changes++;
}

static void come_and_go(double seconds) {
    uint64_t interval = (uint64_t)(SECOND / option.rate), start = now_ns(), due = start;
    uint64_t until = start + (uint64_t)(seconds * SECOND);
    static uint32_t chance = 1;                     /* the same in every run: a generator after Numerical Recipes */
    while (now_ns() < until) {
        while (now_ns() >= due) {
            struct conn *c;
            do {
                chance = chance * 1664525u + 1013904223u;
                c = &conns[(uint64_t)chance * conn_count >> 32];
            } while (c->state != OPEN && c->state != CLOSED);
            change(c);
            due += interval;
        }
        turn(due);
    }
    quiet(1.2);                                     /* told once a second */
}

static void close_every_second(void) {
    uint64_t deadline = now_ns() + STEP_SECONDS_MAX * SECOND;
    for (uint32_t i = 1; i < conn_count; i += 2) close_conn(&conns[i]);
    for (uint32_t i = 1; i < conn_count; i += 2)
        while (conns[i].state != CLOSED) {
            turn(now_ns() + 100 * MILLISECOND);
            if (now_ns() > deadline) fail("after %d s %u sockets are open", STEP_SECONDS_MAX, open_conns);
        }
    quiet(1.2);                                     /* told once a second */
}

/* What a server allocates once, for its first connections, is not the price of a connection. These are the first
 * sockets of the file, all in its first room: what it takes to load the other rooms is counted. */
static void open_and_close_some(void) {
    uint32_t all = conn_count;
    conn_count = all < WARM_SOCKETS ? all : WARM_SOCKETS;
    open_all();
    for (uint32_t i = 0; i < conn_count; i++) close_conn(&conns[i]);
    quiet(1);
    for (uint32_t i = 0; i < conn_count; i++)
        if (conns[i].state != CLOSED) drop_conn(&conns[i]);
    conn_count = all;
}

static void run(void) {
    switch (option.mode) {
    case FANOUT:
        open_all();
        send_at_rate(option.warm_seconds);
        quiet(0.5);
        mark("begin");
        send_at_rate(option.seconds);
        break;
    case DURABLE:
        open_all();
        send_with_window(option.warm_seconds);
        quiet(0.5);
        mark("begin");
        send_with_window(option.seconds);
        break;
    case IDLE:
        open_and_close_some();
        mark("begin");
        open_all();
        quiet(option.seconds);
        break;
    case HOLD:
        open_all();
        quiet(option.warm_seconds);
        mark("begin");
        quiet(option.seconds);
        break;
    case CONNECT:
        if (conn_count < 2) fail("connect needs two sockets: the first only keeps the room warm");
        open_conn(&conns[0]);
        while (conns[0].state != OPEN) turn(now_ns() + 100 * MILLISECOND);
        connect_many(option.count / 10 + conn_count);    /* everybody once: the first time of a user costs a query */
        quiet(1.2);                 /* presence is sent once a second: let what the warm-up set off be sent before */
        mark("begin");
        connect_many(option.count);
        quiet(1.2);                 /* and count what the measured connects set off */
        break;
    case PRESENCE:
        open_all();
        close_every_second();
        come_and_go(option.warm_seconds);
        mark("begin");
        come_and_go(option.seconds);
        break;
    }
    mark("end");
}

/* --- start and result -------------------------------------------------------------------------------------------- */

static void read_sockets(const char *path) {
    FILE *file = fopen(path, "r");
    char room[64], token[2048], role[8];
    size_t space = 0;
    if (file == NULL) fail("%s: %s", path, strerror(errno));
    while (fscanf(file, "%63s %2047s %7s", room, token, role) == 3) {
        if (conn_count == space) conns = realloc(conns, (space = space ? space * 2 : 1024) * sizeof *conns);
        struct conn *c = &conns[conn_count];
        *c = (struct conn){.fd = -1, .index = conn_count, .room = strdup(room), .token = strdup(token),
                           .sender = role[0] == 's', .stamps = role[0] == 's' ? calloc(STAMPS, sizeof(uint64_t)) : NULL};
        conn_count++;
        sender_count += c->sender;
    }
    fclose(file);
    if (conn_count == 0) fail("%s names no sockets", path);
    senders = calloc(sender_count + 1, sizeof *senders);
    for (uint32_t i = 0, n = 0; i < conn_count; i++)
        if (conns[i].sender) senders[n++] = &conns[i];
    if (sender_count == 0 && (option.mode == FANOUT || option.mode == DURABLE)) fail("%s names no sender", path);
}

static void read_options(int argc, char **argv) {
    enum { PORT = 256, PATH, SOCKETS, DIALECT, RATE, SECONDS, WARM, WINDOW, BODY, COUNT, CONCURRENCY, MEMBERS, WATCH, DEFLATE };
    static const struct option names[] = {
        {"port", 1, 0, PORT}, {"path", 1, 0, PATH}, {"sockets", 1, 0, SOCKETS}, {"dialect", 1, 0, DIALECT},
        {"rate", 1, 0, RATE}, {"seconds", 1, 0, SECONDS}, {"warm", 1, 0, WARM}, {"window", 1, 0, WINDOW},
        {"body", 1, 0, BODY}, {"count", 1, 0, COUNT}, {"concurrency", 1, 0, CONCURRENCY},
        {"members", 1, 0, MEMBERS}, {"watch", 1, 0, WATCH}, {"deflate", 1, 0, DEFLATE},
        {0, 0, 0, 0}};
    const char *sockets = NULL;
    int key;
    while ((key = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (key) {
        case PORT: option.port = atoi(optarg); break;
        case PATH: option.path = optarg; break;
        case SOCKETS: sockets = optarg; break;
        case DIALECT: option.v1 = strcmp(optarg, "v1") == 0; break;
        case RATE: option.rate = atof(optarg); break;
        case SECONDS: option.seconds = atof(optarg); break;
        case WARM: option.warm_seconds = atof(optarg); break;
        case WINDOW: option.window = (uint32_t)atoi(optarg); break;
        case BODY: option.body_bytes = (uint32_t)atoi(optarg); break;
        case COUNT: option.count = (uint32_t)atoi(optarg); break;
        case CONCURRENCY: option.concurrency = (uint32_t)atoi(optarg); break;
        case MEMBERS: option.members = (uint32_t)atoi(optarg); break;
        case WATCH: option.watch = (uint32_t)atoi(optarg); break;
        case DEFLATE: option.deflate = (uint32_t)atoi(optarg); break;
        default: exit(2);
        }
    }
    int mode = -1;
    for (int i = 0; optind < argc && i < MODES; i++)
        if (strcmp(argv[optind], mode_names[i]) == 0) mode = i;
    if (mode < 0 || sockets == NULL || option.port == 0)
        fail("usage: load fanout|durable|idle|hold|connect|presence --port N --sockets FILE [--dialect v1] [--path /room/%%r] [...]");
    if (option.body_bytes < TOKEN_BYTES || option.body_bytes > 10000) fail("--body is %d to 10000 bytes", TOKEN_BYTES);
    if (option.window < 1 || option.window > STAMPS) fail("--window is 1 to %d", STAMPS);
    if (option.deflate && option.body_bytes < 600) fail("--deflate needs a --body of 600 bytes: less is not compressed");
    if (option.rate <= 0) fail("--rate is messages a second, above 0");
    option.mode = (enum mode)mode;
    if (option.members > 1000 || (option.mode == PRESENCE && option.members == 0)) fail("--members is 1 to 1000");
    read_sockets(sockets);
    if (option.concurrency < 1 || (option.mode == CONNECT && option.concurrency >= conn_count))
        fail("--concurrency is 1 to the number of sockets less one");
}

static void print_latency(const char *name, const struct histogram *h) {
    printf("\"%s\":{\"count\":%" PRIu64 ",\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f},", name, h->count,
           quantile_ms(h, 0.50), quantile_ms(h, 0.90), quantile_ms(h, 0.99), (double)h->max_us / 1000.0);
}

static void print_escaped(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
}

static void print_result(void) {
    printf("{\"mode\":\"%s\",\"sockets\":%u,\"seconds\":%.6f,\"sent\":%" PRIu64 ",\"delivered\":%" PRIu64
           ",\"acks\":%" PRIu64 ",\"unacknowledged\":%" PRId64 ",\"per_second\":%.1f,\"connects\":%u,",
           mode_names[option.mode], conn_count, (double)measured / SECOND, seen.sent, seen.delivered, seen.acks,
           option.v1 || option.mode == DURABLE ? (int64_t)(seen.sent - seen.acks) : 0, per_second, option.mode == CONNECT ? option.count : open_conns);
    print_latency("delivery_ms", &seen.delivery);
    print_latency("ack_ms", &seen.ack);
    print_latency("connect_ms", &seen.connect);
    printf("\"changes\":%" PRIu64 ",\"news\":%" PRIu64 ",\"told\":%" PRIu64 ",\"to_tell\":%" PRIu64 ",", seen.changes,
           seen.news, seen.told, seen.to_tell);
    printf("\"errors\":%" PRIu64 ",\"others\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"close_timeouts\":%" PRIu64
           ",\"client_cpu_seconds\":%.3f,\"first_error\":\"",
           seen.errors, seen.others, seen.lost, seen.close_timeouts, cpu_used);
    print_escaped(seen.first_error);
    puts("\"}");
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    read_options(argc, argv);
    run_nonce = (unsigned)(now_ns() / 1000) ^ (unsigned)getpid() << 20;
    poller = epoll_create1(EPOLL_CLOEXEC);
    run();
    print_result();
    return 0;
}
