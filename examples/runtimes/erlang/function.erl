%% A function in Erlang. What is in the process dictionary stays for the next event.
-module(function).
-export([init/0, handler/1]).

init() ->
    case os:getenv("FAIL_INIT") of
        false -> put(count, 0);
        _ -> throw({"ConfigurationError", "asked to fail at the start"})
    end.

handler(Event) ->
    Count = get(count) + 1,
    put(count, Count),
    asks(Event, <<"\"fail\"">>) andalso throw({"InvalidEvent", "asked to fail"}),
    asks(Event, <<"\"sleep\"">>) andalso timer:sleep(60000),
    asks(Event, <<"\"exit\"">>) andalso halt(3),
    [<<"{\"count\":">>, integer_to_binary(Count), <<",\"greeting\":\"">>,
     os:getenv("GREETING", ""), <<"\",\"event\":">>, Event, <<"}">>].

asks(Event, What) -> binary:match(Event, What) =/= nomatch.
