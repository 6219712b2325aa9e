#include "lambda_runtime.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <typeinfo>

namespace lambda {
namespace {

struct Answer {
    int status = 0;
    std::map<std::string, std::string> headers;  // names in small letters
    std::string body;
};

class Api {
public:
    explicit Api(const char* address) : address_(address ? address : "") {
        const auto colon = address_.rfind(':');
        sockaddr_in peer{};
        peer.sin_family = AF_INET;
        if (colon == std::string::npos ||
            inet_pton(AF_INET, address_.substr(0, colon).c_str(), &peer.sin_addr) != 1)
            throw std::runtime_error("AWS_LAMBDA_RUNTIME_API is not set to an address");
        peer.sin_port = htons(static_cast<uint16_t>(std::stoi(address_.substr(colon + 1))));
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_ < 0 || ::connect(socket_, reinterpret_cast<sockaddr*>(&peer), sizeof peer))
            throw std::runtime_error("the runtime API is not there");
        const int on = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }

    Answer call(const std::string& method, const std::string& path, const std::string& body = "") {
        send(head(method, path) + "Content-Type: application/json\r\nContent-Length: " +
             std::to_string(body.size()) + "\r\n\r\n");
        send(body);
        return receive();
    }

    void open_stream(const std::string& path) {
        send(head("POST", path) +
             "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
             "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
             "Trailer: Lambda-Runtime-Function-Error-Type, "
             "Lambda-Runtime-Function-Error-Body\r\n\r\n");
    }

    void send_part(const std::string& part) {
        char size[24];
        std::snprintf(size, sizeof size, "%zx\r\n", part.size());
        send(size + part + "\r\n");
    }

    void close_stream(const std::string& trailers = "") {
        send("0\r\n" + trailers + "\r\n");
        receive();
    }

private:
    std::string head(const std::string& method, const std::string& path) const {
        return method + " /2018-06-01/runtime/" + path + " HTTP/1.1\r\nHost: " + address_ + "\r\n";
    }

    void send(const std::string& bytes) {
        for (size_t done = 0; done < bytes.size();) {
            const auto sent =
                ::send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
            if (sent <= 0) throw std::runtime_error("the runtime API has gone");
            done += static_cast<size_t>(sent);
        }
    }

    void more() {
        char piece[65536];
        const auto got = ::recv(socket_, piece, sizeof piece, 0);
        if (got <= 0) throw std::runtime_error("the runtime API has gone");
        buffer_.append(piece, static_cast<size_t>(got));
    }

    Answer receive() {
        size_t end;
        while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) more();
        Answer answer;
        answer.status = std::stoi(buffer_.substr(buffer_.find(' ') + 1, 3));
        for (size_t at = buffer_.find("\r\n") + 2; at < end + 2;) {
            const auto line_end = buffer_.find("\r\n", at);
            const auto line = buffer_.substr(at, line_end - at);
            const auto colon = line.find(':');
            auto name = line.substr(0, colon);
            std::transform(name.begin(), name.end(), name.begin(), ::tolower);
            const auto value = line.find_first_not_of(' ', colon + 1);
            answer.headers[name] = value == std::string::npos ? "" : line.substr(value);
            at = line_end + 2;
        }
        const auto length = answer.headers.count("content-length")
                                ? std::stoul(answer.headers["content-length"])
                                : 0;
        buffer_.erase(0, end + 4);
        while (buffer_.size() < length) more();
        answer.body = buffer_.substr(0, length);
        buffer_.erase(0, length);
        return answer;
    }

    std::string address_, buffer_;
    int socket_ = -1;
};

std::string fault(const std::exception& error) {
    const auto* own = dynamic_cast<const Error*>(&error);
    const std::string type = own ? own->type : typeid(error).name();
    std::fprintf(stderr, "%s: %s\n", type.c_str(), error.what());
    return "{\"errorType\": " + quoted(type) + ", \"errorMessage\": " + quoted(error.what()) +
           ", \"stackTrace\": []}";
}

std::string base64(const std::string& text) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string encoded;
    for (size_t at = 0; at < text.size(); at += 3) {
        uint32_t bits = 0;
        for (size_t n = 0; n < 3; ++n)
            bits = bits << 8 | (at + n < text.size() ? static_cast<uint8_t>(text[at + n]) : 0);
        for (size_t n = 0; n < 4; ++n)
            encoded += at + n > text.size() ? '=' : letters[bits >> (18 - 6 * n) & 63];
    }
    return encoded;
}

Event next_event(Api& api) {
    auto next = api.call("GET", "invocation/next");
    if (next.status != 200) throw std::runtime_error("no event: " + next.body);
    Event event;
    event.request_id = next.headers["lambda-runtime-aws-request-id"];
    event.function_arn = next.headers["lambda-runtime-invoked-function-arn"];
    event.trace_id = next.headers["lambda-runtime-trace-id"];
    event.deadline_ms = std::atoll(next.headers["lambda-runtime-deadline-ms"].c_str());
    event.body = std::move(next.body);
    ::setenv("_X_AMZN_TRACE_ID", event.trace_id.c_str(), 1);
    return event;
}

void serve(Api& api, const Handler& handler) {
    const auto event = next_event(api);
    const auto path = "invocation/" + event.request_id;
    std::string answer;
    try {
        answer = handler(event);
    } catch (const std::exception& error) {
        api.call("POST", path + "/error", fault(error));
        return;
    }
    api.call("POST", path + "/response", answer);
}

void serve(Api& api, const StreamHandler& handler) {
    const auto event = next_event(api);
    const auto path = "invocation/" + event.request_id;
    bool open = false;
    const auto begin = [&] {
        if (!open) api.open_stream(path + "/response");
        open = true;
    };
    try {
        handler(event, [&](const std::string& part) {
            if (part.empty()) return;  // which would say that it is the last
            begin();
            api.send_part(part);
        });
    } catch (const std::exception& error) {
        const auto why = fault(error);
        if (open)
            api.close_stream("Lambda-Runtime-Function-Error-Type: Function.Error\r\n"
                             "Lambda-Runtime-Function-Error-Body: " + base64(why) + "\r\n");
        else
            api.call("POST", path + "/error", why);
        return;
    }
    begin();
    api.close_stream();
}

template <typename H>
[[noreturn]] void run_any(const std::function<H()>& make) {
    try {
        Api api(std::getenv("AWS_LAMBDA_RUNTIME_API"));
        H handler;
        try {
            handler = make();
        } catch (const std::exception& error) {
            api.call("POST", "init/error", fault(error));
            std::exit(1);
        }
        for (;;) serve(api, handler);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        std::exit(1);  // the platform starts another process
    }
}

}  // namespace

std::string quoted(const std::string& text) {
    std::string json = "\"";
    for (const unsigned char c : text) {
        char escaped[8];
        if (c == '"' || c == '\\') {
            json += {'\\', static_cast<char>(c)};
        } else if (c < 32) {
            std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
            json += escaped;
        } else {
            json += static_cast<char>(c);
        }
    }
    return json + '"';
}

void run(const std::function<Handler()>& make) { run_any(make); }

void run_stream(const std::function<StreamHandler()>& make) { run_any(make); }

}  // namespace lambda
