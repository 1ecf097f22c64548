/* The load generator of the benchmarks: many SIP callers in one thread, with or without sound. IPv4, UDP, loopback.
 *
 * Each call is INVITE, 200, ACK, (sound), BYE, 200, with the repetitions of RFC 3261 17.1 and, when asked for, a seeded
 * share of all datagrams dropped in both directions. Arrival times are the kernel's (SO_TIMESTAMPNS), so that they do
 * not depend on when this program is scheduled; its own lateness is reported. The summary is JSON on standard output.
 * --dump writes a record for every packet of sound, which the Python side evaluates.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define SECOND 1000000000LL
#define T1 (500 * MS)
#define T2 (4000 * MS)
#define GIVE_UP (32 * SECOND)
#define FRAME 160
#define BATCH 64
#define MAX_DATAGRAM 4096
#define STATUSES 700

enum state { FREE, INVITING, UP, LEAVING };
enum talk { LISTENING, SPEAKING, WAITING };
enum kind { RX_SILENT = 0, RX_LOUD = 1, TX_FIRST = 2, TX_LAST = 3, ECHOED = 4, MISSED = 5 };

struct call {
    enum state state;
    uint32_t number;
    int acked, answered, first_200;
    char tag[80], contact[160];
    int64_t sent_at, next_at, interval, give_up_at, began_at, leave_at;
    /* sound */
    struct sockaddr_in rtp;
    int media;
    uint16_t seq;
    uint32_t ts, ssrc;
    int64_t frame_at;
    enum talk talk;
    int frame, turn;
    int64_t talk_at;
};

struct record {
    int64_t at_ns;
    uint32_t call, ts;
    uint16_t seq;
    uint8_t kind, marker;
    uint32_t extra;
} __attribute__((packed));

static struct {
    const char *host, *dump, *user, *direction;
    int port, calls, parallel, talk, echo, wait, utterances, frames, ramp_retry, local_port;
    double rate, hold_s, seconds, loss, answer_wait_s, start_gap_s;
    uint64_t seed;
} opt = {.host = "127.0.0.1", .port = 5060, .calls = 1, .parallel = 1, .user = "bench", .direction = "sendrecv",
         .answer_wait_s = 5.0, .local_port = 0};

static struct call *calls;
static unsigned run_id;
static int sip_fd, rtp_fd, rtcp_fd, sip_port, rtp_port;
static struct sockaddr_in server;
static unsigned char *speech;
static int by_port[65536];
static FILE *dump_file;
static uint64_t random_state;
static int64_t *latencies, *byes, *late;
static long latency_count, bye_count, late_count, late_max_count = 4000000;
static long started, finished, answered, failed, refused, retry_after, repeats, dropped, server_byes, up, with_sdp_refused;
static long statuses[STATUSES];
static long rtp_in, rtp_out;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int lost(void) {
    if (opt.loss <= 0) return 0;
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    if ((random_state >> 11) * (1.0 / 9007199254740992.0) < opt.loss) {
        dropped++;
        return 1;
    }
    return 0;
}

static void note(int64_t at, int call, uint32_t ts, uint16_t seq, int kind, int marker, uint32_t extra) {
    if (!dump_file) return;
    struct record r = {at, call, ts, seq, kind, marker, extra};
    fwrite(&r, sizeof r, 1, dump_file);
}

static void send_sip(const char *data, int length) {
    if (lost()) return;
    if (sendto(sip_fd, data, length, 0, (struct sockaddr *)&server, sizeof server) < 0 && errno != EAGAIN) perror("sendto");
}

static int invite_text(struct call *c, char *out) {
    char sdp[512];
    int sdp_length = snprintf(sdp, sizeof sdp,
        "v=0\r\no=- 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio %d RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=%s\r\n", rtp_port, opt.direction);
    return snprintf(out, MAX_DATAGRAM,
        "INVITE sip:%s@%s:%d SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-%x-%x-1;rport\r\n"
        "From: \"+1555%07u\" <sip:+1555%07u@127.0.0.1:%d>;tag=gK%08x\r\nCall-ID: %x-%x-%x@127.0.0.1\r\n"
        "To: <sip:%s@%s:%d>\r\nCSeq: 1 INVITE\r\nContact: <sip:+1555@127.0.0.1:%d;transport=udp>\r\n"
        "Max-Forwards: 69\r\nUser-Agent: bench trunk\r\n"
        "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY, REFER\r\nSupported: timer, replaces\r\n"
        "P-Asserted-Identity: <sip:+1555%07u@127.0.0.1>\r\nContent-Type: application/sdp\r\n"
        "Content-Length: %d\r\n\r\n%s",
        opt.user, opt.host, opt.port, sip_port, run_id, c->number, c->number, c->number, sip_port, c->number,
        (unsigned)(c - calls), c->number, run_id, opt.user, opt.host, opt.port, sip_port, c->number, sdp_length, sdp);
}

static int request_text(struct call *c, const char *method, int cseq, const char *branch, const char *uri, char *out) {
    return snprintf(out, MAX_DATAGRAM,
        "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-%x-%x-%s;rport\r\n"
        "From: \"+1555%07u\" <sip:+1555%07u@127.0.0.1:%d>;tag=gK%08x\r\nCall-ID: %x-%x-%x@127.0.0.1\r\n"
        "To: <sip:%s@%s:%d>;tag=%s\r\nCSeq: %d %s\r\nMax-Forwards: 69\r\nContent-Length: 0\r\n\r\n",
        method, uri, sip_port, run_id, c->number, branch, c->number, c->number, sip_port, c->number,
        (unsigned)(c - calls), c->number, run_id, opt.user, opt.host, opt.port, c->tag, cseq, method);
}

static void begin(struct call *c, int64_t now) {
    char text[MAX_DATAGRAM];
    int port = c->rtp.sin_port;
    memset(c, 0, sizeof *c);
    (void)port;
    c->state = INVITING;
    c->number = started++;
    c->began_at = c->sent_at = now;
    c->interval = T1;
    c->next_at = now + T1;
    c->give_up_at = now + GIVE_UP;
    send_sip(text, invite_text(c, text));
}

static void end_call(struct call *c, int ok) {
    finished++;
    if (!ok) failed++;
    if (c->media) by_port[ntohs(c->rtp.sin_port)] = -1;
    c->state = FREE;
}

static void leave(struct call *c, int64_t now) {
    char text[MAX_DATAGRAM];
    c->state = LEAVING;
    up--;
    c->sent_at = now;
    c->interval = T1;
    c->next_at = now + T1;
    c->give_up_at = now + GIVE_UP;
    send_sip(text, request_text(c, "BYE", 2, "3", c->contact, text));
}

static const char *find(const char *text, const char *name) {
    const char *at = strcasestr(text, name);
    return at ? at + strlen(name) : NULL;
}

static void copy_until(const char *from, const char *stops, char *out, size_t size) {
    size_t n = strcspn(from, stops);
    if (n >= size) n = size - 1;
    memcpy(out, from, n);
    out[n] = 0;
}

static void stand(struct call *c, const char *text, int64_t at, int64_t now) {
    const char *line = find(text, "\r\nm=audio ");
    c->answered = 1;
    c->state = UP;
    answered++;
    up++;
    latencies[latency_count++] = at - c->began_at;
    c->leave_at = opt.hold_s < 0 ? INT64_MAX : now + (int64_t)(opt.hold_s * SECOND);
    if ((opt.talk || opt.echo) && line) {
        c->media = 1;
        c->rtp.sin_family = AF_INET;
        c->rtp.sin_port = htons(atoi(line));
        inet_pton(AF_INET, "127.0.0.1", &c->rtp.sin_addr);
        by_port[ntohs(c->rtp.sin_port)] = c - calls;
        c->ssrc = 0x10000000u + c->number;
        c->seq = c->number * 37;
        c->ts = c->number * 7919;
        /* Slots of a millisecond; neighbours do not share one. */
        int64_t slot = (c->number * 7) % 20;
        c->frame_at = (now / (20 * MS) + 1) * 20 * MS + slot * MS;
        c->talk = WAITING;
        c->talk_at = now + (int64_t)((0.5 + (c->number * 61 % 100) / 100.0 * opt.start_gap_s) * SECOND);
    }
}

static void take_response(char *text, int64_t at, int64_t now) {
    char out[MAX_DATAGRAM], method[16] = "", uri[160];
    int status = atoi(text + 8), cseq = 0;
    unsigned slot, number;
    const char *id = find(text, "\r\nCall-ID: "), *seq = find(text, "\r\nCSeq: "), *to = find(text, "\r\nTo: ");
    if (!id || !seq || !to || sscanf(id, "%x-%x", &slot, &number) != 2 || slot >= (unsigned)opt.parallel) return;
    sscanf(seq, "%d %15s", &cseq, method);
    struct call *c = &calls[slot];
    if (c->number != number || c->state == FREE) return;
    if (!strcmp(method, "INVITE")) {
        if (status < 200) {
            if (c->state == INVITING) c->next_at = INT64_MAX;
            return;
        }
        const char *tag = find(to, ";tag=");
        if (tag) copy_until(tag, ";\r\n ", c->tag, sizeof c->tag);
        if (status >= 300) {
            snprintf(uri, sizeof uri, "sip:%s@%s:%d", opt.user, opt.host, opt.port);
            send_sip(out, request_text(c, "ACK", 1, "1", uri, out));
            if (c->state == INVITING) {
                refused++;
                if (status < STATUSES) statuses[status]++;
                if (find(text, "\r\nRetry-After:")) retry_after++;
                if (find(text, "\r\nm=audio ")) with_sdp_refused++;
                end_call(c, 1);
            }
            return;
        }
        const char *contact = find(text, "\r\nContact: <");
        if (contact) copy_until(contact, ">", c->contact, sizeof c->contact);
        send_sip(out, request_text(c, "ACK", 1, "2", c->contact, out));
        if (c->state == INVITING) stand(c, text, at, now);
        if (c->state == UP && now >= c->leave_at) leave(c, now);
    } else if (!strcmp(method, "BYE") && status >= 200 && c->state == LEAVING) {
        byes[bye_count++] = at - c->sent_at;
        if (status < STATUSES && status != 200) statuses[status]++;
        end_call(c, status == 200);
    }
}

/* The server hangs up, or asks: agreed, whatever it is. */
static void take_request(char *text, int64_t now) {
    char out[MAX_DATAGRAM];
    static const char *names[] = {"\r\nVia:", "\r\nFrom:", "\r\nTo:", "\r\nCall-ID:", "\r\nCSeq:"};
    int length = snprintf(out, sizeof out, "SIP/2.0 200 OK");
    unsigned slot, number;
    const char *id = find(text, "\r\nCall-ID: ");
    (void)now;
    if (!strncmp(text, "ACK ", 4)) return;
    for (int n = 0; n < 5; n++) {
        const char *value = find(text, names[n]);
        if (!value) return;
        length += snprintf(out + length, sizeof out - length, "%s%.*s", names[n], (int)strcspn(value, "\r"), value);
    }
    length += snprintf(out + length, sizeof out - length, "\r\nContent-Length: 0\r\n\r\n");
    send_sip(out, length);
    if (!strncmp(text, "BYE ", 4) && id && sscanf(id, "%x-%x", &slot, &number) == 2 && slot < (unsigned)opt.parallel &&
        calls[slot].number == number && calls[slot].state != FREE) {
        if (calls[slot].state == UP) up--;
        server_byes++;
        end_call(&calls[slot], 0);
    }
}

struct box {
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in from[BATCH];
    char control[BATCH][64];
    char data[BATCH][MAX_DATAGRAM];
};
static struct box box;

static int receive(int fd) {
    for (int n = 0; n < BATCH; n++) {
        box.vectors[n] = (struct iovec){box.data[n], MAX_DATAGRAM - 1};
        box.headers[n].msg_hdr = (struct msghdr){&box.from[n], sizeof box.from[n], &box.vectors[n], 1,
                                                 box.control[n], sizeof box.control[n], 0};
    }
    int count = recvmmsg(fd, box.headers, BATCH, MSG_DONTWAIT, NULL);
    return count < 0 ? 0 : count;
}

static int64_t stamp(int n, int64_t otherwise) {
    struct msghdr *h = &box.headers[n].msg_hdr;
    for (struct cmsghdr *m = CMSG_FIRSTHDR(h); m; m = CMSG_NXTHDR(h, m))
        if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(m), sizeof t);
            return t.tv_sec * SECOND + t.tv_nsec;
        }
    return otherwise;
}

static void read_sip(void) {
    int count;
    do {
        count = receive(sip_fd);
        int64_t now = now_ns();
        for (int n = 0; n < count; n++) {
            if (lost()) continue;
            box.data[n][box.headers[n].msg_len] = 0;
            if (!strncmp(box.data[n], "SIP/2.0 ", 8)) take_response(box.data[n], stamp(n, now), now);
            else take_request(box.data[n], now);
        }
    } while (count == BATCH);
}

static int loud(const unsigned char *payload, int length) {
    /* mu-law: the exponent bits, inverted; 3 and more is above about -36 dBFS. */
    int found = 0;
    for (int n = 0; n < length; n++) found += ((~payload[n] >> 4) & 7) >= 3;
    return found > 20;
}

static void read_rtp(void) {
    int count;
    do {
        count = receive(rtp_fd);
        int64_t now = now_ns();
        for (int n = 0; n < count; n++) {
            unsigned char *p = (unsigned char *)box.data[n];
            int length = box.headers[n].msg_len, which = by_port[ntohs(box.from[n].sin_port)];
            if (length < 12 || which < 0) continue;
            struct call *c = &calls[which];
            int64_t at = stamp(n, now);
            uint16_t seq = p[2] << 8 | p[3];
            uint32_t ts = (uint32_t)p[4] << 24 | p[5] << 16 | p[6] << 8 | p[7];
            rtp_in++;
            if (opt.echo) {
                int64_t sent;
                memcpy(&sent, p + 12, sizeof sent);
                note(at, c->number, ts, seq, ECHOED, p[1] >> 7, (uint32_t)((at - sent) / 100));
                continue;
            }
            int is_loud = loud(p + 12, length - 12);
            note(at, c->number, ts, seq, is_loud ? RX_LOUD : RX_SILENT, p[1] >> 7, c->turn);
            if (is_loud && c->talk == LISTENING) {
                c->talk = WAITING;
                c->talk_at = now + SECOND;
            }
        }
    } while (count == BATCH);
    while (recv(rtcp_fd, box.data[0], MAX_DATAGRAM, MSG_DONTWAIT) > 0) {}
}

/* What a caller says in its next frame. */
static void next_frame(struct call *c, unsigned char *payload, int64_t now) {
    int64_t sent = now;
    if (opt.echo) {
        memset(payload, 0xFF, FRAME);
        memcpy(payload, &sent, sizeof sent);
        return;
    }
    if (c->talk == WAITING && now >= c->talk_at) {
        c->talk = SPEAKING;
        c->frame = 0;
        note(now, c->number, c->ts, c->seq, TX_FIRST, 0, c->turn);
    } else if (c->talk == LISTENING && now >= c->talk_at) {
        note(now, c->number, c->ts, c->seq, MISSED, 0, c->turn);
        c->talk = SPEAKING;
        c->frame = 0;
        note(now, c->number, c->ts, c->seq, TX_FIRST, 0, c->turn);
    }
    if (c->talk != SPEAKING) {
        memset(payload, 0xFF, FRAME);
        return;
    }
    int which = (c->number * 7 + c->turn) % opt.utterances;
    memcpy(payload, speech + ((size_t)which * opt.frames + c->frame) * FRAME, FRAME);
    if (++c->frame == opt.frames) {
        note(now, c->number, c->ts, c->seq, TX_LAST, 0, c->turn);
        c->turn++;
        c->talk = LISTENING;
        c->talk_at = now + (int64_t)(opt.answer_wait_s * SECOND);
    }
}

static void send_frames(int64_t now) {
    static struct mmsghdr headers[BATCH];
    static struct iovec vectors[BATCH];
    static unsigned char packets[BATCH][12 + FRAME];
    int count = 0;
    for (int n = 0; n <= opt.parallel; n++) {
        if (n < opt.parallel) {
            struct call *c = &calls[n];
            if (c->state != UP || !c->media || now < c->frame_at) continue;
            if (late_count < late_max_count) late[late_count++] = now - c->frame_at;
            unsigned char *p = packets[count];
            p[0] = 0x80;
            p[1] = 0;
            p[2] = c->seq >> 8; p[3] = c->seq;
            p[4] = c->ts >> 24; p[5] = c->ts >> 16; p[6] = c->ts >> 8; p[7] = c->ts;
            p[8] = c->ssrc >> 24; p[9] = c->ssrc >> 16; p[10] = c->ssrc >> 8; p[11] = c->ssrc;
            next_frame(c, p + 12, now);
            c->seq++;
            c->ts += FRAME;
            c->frame_at += 20 * MS;
            vectors[count] = (struct iovec){p, 12 + FRAME};
            headers[count].msg_hdr = (struct msghdr){&c->rtp, sizeof c->rtp, &vectors[count], 1, NULL, 0, 0};
            count++;
        }
        if (count == BATCH || (n == opt.parallel && count)) {
            int done = 0;
            while (done < count) {
                int sent = sendmmsg(rtp_fd, headers + done, count - done, 0);
                if (sent < 0) break;
                done += sent;
                rtp_out += sent;
            }
            count = 0;
            now = now_ns();
        }
    }
}

static void run_timers(int64_t now) {
    char text[MAX_DATAGRAM];
    for (int n = 0; n < opt.parallel; n++) {
        struct call *c = &calls[n];
        if (c->state == UP && now >= c->leave_at) leave(c, now);
        if ((c->state == INVITING || c->state == LEAVING) && now >= c->give_up_at) {
            end_call(c, 0);
            continue;
        }
        if ((c->state == INVITING || c->state == LEAVING) && now >= c->next_at) {
            repeats++;
            c->interval *= 2;
            if (c->state == LEAVING && c->interval > T2) c->interval = T2;
            c->next_at = now + c->interval;
            if (c->state == INVITING) send_sip(text, invite_text(c, text));
            else send_sip(text, request_text(c, "BYE", 2, "3", c->contact, text));
        }
    }
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double share(int64_t *values, long count, double q) {
    return count ? values[(long)((count - 1) * q)] / 1e6 : -1;
}

static int bound(int port, int *chosen) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1, size = 8 << 20;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size)) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    getsockname(fd, (struct sockaddr *)&address, &length);
    if (chosen) *chosen = ntohs(address.sin_port);
    return fd;
}

static void read_options(int argc, char **argv) {
    for (int n = 1; n + 1 < argc; n += 2) {
        const char *name = argv[n], *value = argv[n + 1];
        if (!strcmp(name, "--port")) opt.port = atoi(value);
        else if (!strcmp(name, "--user")) opt.user = value;
        else if (!strcmp(name, "--calls")) opt.calls = atoi(value);
        else if (!strcmp(name, "--parallel")) opt.parallel = atoi(value);
        else if (!strcmp(name, "--rate")) opt.rate = atof(value);
        else if (!strcmp(name, "--hold")) opt.hold_s = atof(value);
        else if (!strcmp(name, "--seconds")) opt.seconds = atof(value);
        else if (!strcmp(name, "--loss")) opt.loss = atof(value);
        else if (!strcmp(name, "--seed")) opt.seed = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--direction")) opt.direction = value;
        else if (!strcmp(name, "--wait")) opt.wait = atoi(value);
        else if (!strcmp(name, "--retry")) opt.ramp_retry = atoi(value);
        else if (!strcmp(name, "--echo")) opt.echo = atoi(value);
        else if (!strcmp(name, "--dump")) opt.dump = value;
        else if (!strcmp(name, "--start-gap")) opt.start_gap_s = atof(value);
        else if (!strcmp(name, "--answer-wait")) opt.answer_wait_s = atof(value);
        else if (!strcmp(name, "--talk")) {
            FILE *file = fopen(value, "rb");
            uint32_t head[2];
            if (!file || fread(head, sizeof head, 1, file) != 1) exit(2);
            opt.talk = 1;
            opt.utterances = head[0];
            opt.frames = head[1];
            size_t size = (size_t)head[0] * head[1] * FRAME;
            speech = malloc(size);
            if (!speech || fread(speech, 1, size, file) != size) exit(2);
            fclose(file);
        } else {
            fprintf(stderr, "unknown option %s\n", name);
            exit(2);
        }
    }
}

static void open_sockets(void) {
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(opt.port)};
    inet_pton(AF_INET, opt.host, &server.sin_addr);
    sip_fd = bound(0, &sip_port);
    for (rtp_port = 52000; rtp_port < 60000; rtp_port += 2) {
        if ((rtp_fd = bound(rtp_port, NULL)) < 0) continue;
        if ((rtcp_fd = bound(rtp_port + 1, NULL)) >= 0) return;
        close(rtp_fd);
    }
    exit(2);
}

int main(int argc, char **argv) {
    struct rusage usage;
    read_options(argc, argv);
    random_state = (opt.seed + 1) * 0x9E3779B97F4A7C15ULL;
    calls = calloc(opt.parallel, sizeof *calls);
    latencies = calloc(opt.calls + 1, sizeof *latencies);
    byes = calloc(opt.calls + 1, sizeof *byes);
    late = calloc(late_max_count, sizeof *late);
    for (int n = 0; n < 65536; n++) by_port[n] = -1;
    if (opt.dump) dump_file = fopen(opt.dump, "wb");
    open_sockets();
    run_id = (unsigned)(now_ns() / MS) ^ (unsigned)getpid() << 20;
    int64_t began = now_ns(), step_due = began, last_retry = 0;
    int told = 0, ending = 0, free_from = 0;
    int64_t stop_at = opt.seconds > 0 ? began + (int64_t)(opt.seconds * SECOND) : INT64_MAX;
    int64_t due = began;
    while (finished < started || (!ending && started < opt.calls)) {
        int64_t now = now_ns();
        if (now >= stop_at && !ending) ending = 1;
        if (ending)
            for (int n = 0; n < opt.parallel; n++)
                if (calls[n].state == UP) leave(&calls[n], now);
        /* New calls. */
        while (!ending && started < opt.calls) {
            if (opt.rate > 0 && now < due) break;
            int n = 0;
            while (n < opt.parallel && calls[(free_from + n) % opt.parallel].state != FREE) n++;
            if (n == opt.parallel) break;
            if (opt.ramp_retry && refused && now - last_retry < 0) break;
            free_from = (free_from + n) % opt.parallel;
            /* Lateness counts in open loop; in closed loop there is nothing to be late for. */
            if (opt.rate > 0 && late_count < late_max_count) late[late_count++] = now - due;
            begin(&calls[free_from], opt.rate > 0 && !opt.talk ? now_ns() : now);
            free_from = (free_from + 1) % opt.parallel;
            if (opt.rate > 0) due += (int64_t)(SECOND / opt.rate);
        }
        read_sip();
        if (opt.talk || opt.echo) {
            send_frames(now_ns());
            read_rtp();
        }
        now = now_ns();
        run_timers(now);
        if (opt.wait && !told && up == opt.parallel) {
            told = 1;
            printf("up %ld\n", up);
            fflush(stdout);
        }
        if (opt.wait && told && !ending) {
            struct pollfd in = {0, POLLIN, 0};
            if (poll(&in, 1, 0) > 0) ending = 1;
        }
        /* Sleep to the next millisecond, or until signalling comes. */
        int64_t until = (now / MS + 1) * MS;
        if (opt.rate > 0 && started < opt.calls && due < until) until = due;
        struct timespec left = {0, until > now ? until - now : 0};
        struct pollfd fds[] = {{sip_fd, POLLIN, 0}};
        ppoll(fds, 1, &left, NULL);
    }
    (void)step_due;
    int64_t ended = now_ns();
    getrusage(RUSAGE_SELF, &usage);
    qsort(latencies, latency_count, sizeof *latencies, compare);
    qsort(byes, bye_count, sizeof *byes, compare);
    qsort(late, late_count, sizeof *late, compare);
    if (dump_file) fclose(dump_file);
    printf("{\"started\": %ld, \"answered\": %ld, \"refused\": %ld, \"failed\": %ld, \"repeats\": %ld, \"dropped\": %ld, "
           "\"server_byes\": %ld, \"retry_after\": %ld, \"refused_with_sdp\": %ld, \"seconds\": %.3f, "
           "\"cpu_s\": %.3f, \"invite_p50_ms\": %.3f, \"invite_p99_ms\": %.3f, \"invite_max_ms\": %.3f, "
           "\"bye_p50_ms\": %.3f, \"bye_p99_ms\": %.3f, \"late_p99_ms\": %.3f, \"rtp_in\": %ld, \"rtp_out\": %ld, \"statuses\": {",
           started, answered, refused, failed, repeats, dropped, server_byes, retry_after, with_sdp_refused,
           (ended - began) / 1e9,
           usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
           share(latencies, latency_count, .5), share(latencies, latency_count, .99), share(latencies, latency_count, 1),
           share(byes, bye_count, .5), share(byes, bye_count, .99), share(late, late_count, .99), rtp_in, rtp_out);
    const char *comma = "";
    for (int n = 0; n < STATUSES; n++)
        if (statuses[n]) {
            printf("%s\"%d\": %ld", comma, n, statuses[n]);
            comma = ", ";
        }
    printf("}}\n");
    return 0;
}
