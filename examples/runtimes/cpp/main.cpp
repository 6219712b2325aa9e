// A function in C++.
#include <unistd.h>

#include <cstdlib>

#include "lambda_runtime.hpp"

namespace {

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

int count = 0;  // stays for the next event

std::string handler(const lambda::Event& event) {
    ++count;
    const auto asks = [&](const char* what) {
        return event.body.find(what) != std::string::npos;
    };
    if (asks("\"fail\"")) throw lambda::Error("InvalidEvent", "asked to fail");
    if (asks("\"sleep\"")) sleep(60);
    if (asks("\"exit\"")) std::exit(3);
    return "{\"count\": " + std::to_string(count) + ", \"greeting\": \"" + setting("GREETING") +
           "\", \"event\": " + event.body + "}";
}

}  // namespace

int main() {
    lambda::run([]() -> lambda::Handler {
        if (!setting("FAIL_INIT").empty())
            throw lambda::Error("ConfigurationError", "asked to fail at the start");
        return handler;
    });
}
