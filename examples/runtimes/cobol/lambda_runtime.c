/* The Runtime API for COBOL: subprograms over one kept connection.
 *
 *   CALL "lambda_next"    USING event size           waits for the next event
 *   CALL "lambda_respond" USING answer BY VALUE size
 *   CALL "lambda_send"    USING part BY VALUE size   a part of an answer that is streamed,
 *   CALL "lambda_end"                                and its end
 *   CALL "lambda_fail"    USING type message         both ended by LOW-VALUE; it ends a stream too
 *   CALL "lambda_init_failed" USING type message     before the first event; then STOP RUN
 *   CALL "lambda_environment" USING answer size      all variables, as JSON
 *
 * What cannot be served ends the process: the platform starts another one. */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENT_BYTES 6291556 /* as payload in main.cob */
#define HEAD_BYTES 65536

static int api = -1;
static int streaming = 0;
static char request_id[128];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void give(const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = send(api, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) die("runtime API: send");
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void open_api(void) {
    char host[256], *colon;
    const char *address = getenv("AWS_LAMBDA_RUNTIME_API");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int on = 1;
    if (api >= 0) return;
    snprintf(host, sizeof host, "%s", address ? address : "");
    if (!(colon = strrchr(host, ':'))) die("AWS_LAMBDA_RUNTIME_API");
    *colon = 0;
    if (getaddrinfo(host, colon + 1, &hints, &found)) die("runtime API: address");
    api = socket(found->ai_family, SOCK_STREAM, 0);
    if (api < 0 || connect(api, found->ai_addr, found->ai_addrlen)) die("runtime API: connect");
    setsockopt(api, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    freeaddrinfo(found);
}

/* The value of a header of an answer's head, or NULL. */
static const char *header(const char *head, const char *name) {
    size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, size) && line[2 + size] == ':') {
            line += 3 + size;
            return line + strspn(line, " ");
        }
    return NULL;
}

static void send_head(const char *method, const char *path, const char *more) {
    char head[2048];
    int size;
    open_api();
    size = snprintf(head, sizeof head, "%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method,
                    path, getenv("AWS_LAMBDA_RUNTIME_API"), more);
    if (size >= (int)sizeof head) die("runtime API: the head is too long");
    give(head, (size_t)size);
}

/* Reads an answer; its body goes to `into` (room for `room`) or is dropped. Its size. */
static size_t receive(char *into, size_t room) {
    static char head[HEAD_BYTES + 1];
    size_t have = 0, length, got;
    char *end = NULL;
    const char *value;
    while (!end) {
        ssize_t read_now = recv(api, head + have, HEAD_BYTES - have, 0);
        if (read_now <= 0) die("runtime API: receive");
        have += (size_t)read_now;
        head[have] = 0;
        end = strstr(head, "\r\n\r\n");
    }
    end += 4;
    got = have - (size_t)(end - head);
    value = header(head, "content-length");
    length = value ? strtoul(value, NULL, 10) : 0;
    if (got > length || (into && length > room)) {
        fprintf(stderr, "runtime API: an answer of %zu bytes does not fit\n", length);
        exit(1);
    }
    if (into) memcpy(into, end, got);
    if (into && (value = header(head, "lambda-runtime-aws-request-id")))
        snprintf(request_id, sizeof request_id, "%.*s", (int)strcspn(value, "\r"), value);
    if (into && (value = header(head, "lambda-runtime-trace-id"))) {
        char trace[1024];
        snprintf(trace, sizeof trace, "%.*s", (int)strcspn(value, "\r"), value);
        setenv("_X_AMZN_TRACE_ID", trace, 1);
    }
    while (got < length) {
        char dropped[4096], *to = into ? into + got : dropped;
        size_t most = into ? length - got : sizeof dropped;
        ssize_t read_now = recv(api, to, most < length - got ? most : length - got, 0);
        if (read_now <= 0) die("runtime API: receive");
        got += (size_t)read_now;
    }
    return length;
}

static size_t call_api(const char *method, const char *path, const char *body, size_t size,
                       char *into, size_t room) {
    char more[128];
    snprintf(more, sizeof more, "Content-Type: application/json\r\nContent-Length: %zu\r\n", size);
    send_head(method, path, more);
    give(body, size);
    return receive(into, room);
}

int lambda_next(char *event, int *size) {
    *size = (int)call_api("GET", "invocation/next", "", 0, event, EVENT_BYTES);
    return 0;
}

int lambda_respond(const char *answer, int size) {
    char path[256];
    snprintf(path, sizeof path, "invocation/%s/response", request_id);
    call_api("POST", path, answer, (size_t)size, NULL, 0);
    return 0;
}

int lambda_send(const char *part, int size) {
    char text[256];
    if (size <= 0) return 0;
    if (!streaming) {
        snprintf(text, sizeof text, "invocation/%s/response", request_id);
        send_head("POST", text,
                  "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
                  "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
                  "Trailer: Lambda-Runtime-Function-Error-Type, "
                  "Lambda-Runtime-Function-Error-Body\r\n");
        streaming = 1;
    }
    snprintf(text, sizeof text, "%x\r\n", (unsigned)size);
    give(text, strlen(text));
    give(part, (size_t)size);
    give("\r\n", 2);
    return 0;
}

static void end_stream(const char *trailers) {
    give("0\r\n", 3);
    give(trailers, strlen(trailers));
    give("\r\n", 2);
    receive(NULL, 0);
    streaming = 0;
}

int lambda_end(void) {
    end_stream("");
    return 0;
}

static void base64(const char *text, size_t size, char *into) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < size; at += 3) {
        unsigned bits = 0;
        for (size_t n = 0; n < 3; n++)
            bits = bits << 8 | (at + n < size ? (unsigned char)text[at + n] : 0);
        for (size_t n = 0; n < 4; n++)
            *into++ = at + n > size ? '=' : letters[bits >> (18 - 6 * n) & 63];
    }
    *into = 0;
}

static void fail(const char *path, const char *type, const char *message) {
    char body[4096], encoded[2 * sizeof body], trailers[3 * sizeof body];
    int size = snprintf(body, sizeof body, "{\"errorType\": \"%s\", \"errorMessage\": \"%s\"}",
                        type, message);
    if (size >= (int)sizeof body) die("the error is too long");
    fprintf(stderr, "%s: %s\n", type, message);
    if (!streaming) {
        call_api("POST", path, body, (size_t)size, NULL, 0);
        return;
    }
    base64(body, (size_t)size, encoded);
    snprintf(trailers, sizeof trailers,
             "Lambda-Runtime-Function-Error-Type: Function.Error\r\n"
             "Lambda-Runtime-Function-Error-Body: %s\r\n", encoded);
    end_stream(trailers);
}

int lambda_fail(const char *type, const char *message) {
    char path[256];
    snprintf(path, sizeof path, "invocation/%s/error", request_id);
    fail(path, type, message);
    return 0;
}

int lambda_init_failed(const char *type, const char *message) {
    fail("init/error", type, message);
    return 0;
}

static void put_text(FILE *to, const char *text, size_t size) {
    fputc('"', to);
    for (; size > 0; size--, text++) {
        if (*text == '"' || *text == '\\') fputc('\\', to);
        if ((unsigned char)*text < 32) fprintf(to, "\\u%04x", (unsigned char)*text);
        else fputc(*text, to);
    }
    fputc('"', to);
}

int lambda_environment(char *answer, int *size) {
    FILE *to = fmemopen(answer, EVENT_BYTES, "w");
    if (!to) die("variables");
    for (char **variable = environ; *variable; variable++) {
        size_t name = strcspn(*variable, "=");
        if (!(*variable)[name]) continue;
        fputc(ftell(to) == 0 ? '{' : ',', to);
        put_text(to, *variable, name);
        fputc(':', to);
        put_text(to, *variable + name + 1, strlen(*variable + name + 1));
    }
    fputc('}', to);
    *size = (int)ftell(to);
    fclose(to);
    return 0;
}
