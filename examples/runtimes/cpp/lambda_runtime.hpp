// A client of Lambda's Runtime API for C++17, over one kept connection; no libraries.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

namespace lambda {

struct Event {
    std::string request_id, function_arn, trace_id;
    long long deadline_ms = 0;
    std::string body;  // JSON, up to 6 MB
};

// Thrown by a handler: errorType and errorMessage of the invocation. Any other std::exception is
// reported too, with its class as the type.
struct Error : std::runtime_error {
    Error(std::string type, const std::string& message)
        : std::runtime_error(message), type(std::move(type)) {}
    std::string type;
};

using Handler = std::function<std::string(const Event&)>;

// Sends a part of the answer.
using Send = std::function<void(const std::string&)>;

// Answers bit by bit: as a stream. What it throws after its first part ends the stream.
using StreamHandler = std::function<void(const Event&, const Send&)>;

// Calls `make` once for the handler, then the handler for each event. Does not return; what `make`
// throws is the error of the init phase.
[[noreturn]] void run(const std::function<Handler()>& make);
[[noreturn]] void run_stream(const std::function<StreamHandler()>& make);

// A string of JSON.
std::string quoted(const std::string& text);

}  // namespace lambda
