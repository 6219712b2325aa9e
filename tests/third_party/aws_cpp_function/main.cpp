// A function made with AWS's client for C++: a row of the test matrix, as the example in C++ is.
#include <aws/lambda-runtime/runtime.h>
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

using aws::lambda_runtime::invocation_request;
using aws::lambda_runtime::invocation_response;

namespace {

int count = 0;  // stays for the next event

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

std::string quoted(const std::string& text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') json += '\\';
        json += c;
    }
    return json + '"';
}

std::string environment() {
    std::string json;
    for (char** variable = environ; *variable; ++variable) {
        const std::string text = *variable;
        const auto middle = text.find('=');
        json += (json.empty() ? "{" : ", ") + quoted(text.substr(0, middle)) + ": " +
                quoted(text.substr(middle + 1));
    }
    return json + "}";
}

std::string from_layer() {
    void* library = dlopen("libwho.so", RTLD_NOW);
    void* who = library ? dlsym(library, "who") : nullptr;
    return who ? reinterpret_cast<const char* (*)()>(who)() : dlerror();
}

invocation_response handler(const invocation_request& event) {
    const auto asks = [&](const char* what) {
        return event.payload.find(what) != std::string::npos;
    };
    const auto answer = [](const std::string& json) {
        return invocation_response::success(json, "application/json");
    };
    ++count;
    if (asks("\"fail\"")) return invocation_response::failure("asked to fail", "InvalidEvent", "");
    if (asks("\"sleep\"")) sleep(60);
    if (asks("\"exit\"")) std::exit(3);
    if (asks("\"environment\"")) return answer(environment());
    if (asks("\"layer\"")) return answer(quoted(from_layer()));
    return answer("{\"count\": " + std::to_string(count) +
                  ", \"greeting\": " + quoted(setting("GREETING")) +
                  ", \"event\": " + event.payload + "}");
}

}  // namespace

int main() {
    if (setting("FAIL_INIT").empty()) {
        aws::lambda_runtime::run_handler(handler);
        return 0;
    }
    aws::lambda_runtime::runtime runtime("http://" + setting("AWS_LAMBDA_RUNTIME_API"));
    const std::string why =
        "{\"errorType\": \"ConfigurationError\", \"errorMessage\": \"asked to fail at the start\"}";
    runtime.post_init_error({why, "application/json", ""});
    return 1;
}
