// A function in C++: function.handler answers as a whole, function.streams bit by bit.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

#include "lambda_runtime.hpp"

namespace {

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

void check_settings() {
    if (!setting("FAIL_INIT").empty())
        throw lambda::Error("ConfigurationError", "asked to fail at the start");
}

bool asks(const lambda::Event& event, const char* what) {
    return event.body.find(what) != std::string::npos;
}

std::string environment() {
    std::string json;
    for (char** variable = environ; *variable; ++variable) {
        const std::string text = *variable;
        const auto middle = text.find('=');
        json += (json.empty() ? "{" : ", ") + lambda::quoted(text.substr(0, middle)) + ": " +
                lambda::quoted(text.substr(middle + 1));
    }
    return json + "}";
}

// Layers bring libraries in /opt/lib, which is on LD_LIBRARY_PATH.
std::string from_layer() {
    void* library = dlopen("libwho.so", RTLD_NOW);
    void* who = library ? dlsym(library, "who") : nullptr;
    if (!who) throw lambda::Error("LayerMissing", dlerror());
    return reinterpret_cast<const char* (*)()>(who)();
}

int count = 0;  // stays for the next event

std::string handler(const lambda::Event& event) {
    ++count;
    if (asks(event, "\"fail\"")) throw lambda::Error("InvalidEvent", "asked to fail");
    if (asks(event, "\"sleep\"")) sleep(60);
    if (asks(event, "\"exit\"")) std::exit(3);
    if (asks(event, "\"environment\"")) return environment();
    if (asks(event, "\"layer\"")) return lambda::quoted(from_layer());
    return "{\"count\": " + std::to_string(count) +
           ", \"greeting\": " + lambda::quoted(setting("GREETING")) +
           ", \"event\": " + event.body + "}";
}

void streams(const lambda::Event& event, const lambda::Send& send) {
    send("first,");
    if (asks(event, "\"fail\"")) throw lambda::Error("InvalidEvent", "asked to fail");
    send("second");
}

}  // namespace

int main() {
    if (setting("_HANDLER") == "function.streams")
        lambda::run_stream([]() -> lambda::StreamHandler {
            check_settings();
            return streams;
        });
    lambda::run([]() -> lambda::Handler {
        check_settings();
        return handler;
    });
}
