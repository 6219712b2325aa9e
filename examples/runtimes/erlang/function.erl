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
    case binary:match(Event, <<"\"fail\"">>) of
        nomatch ->
            [<<"{\"count\":">>, integer_to_binary(Count), <<",\"greeting\":\"">>,
             os:getenv("GREETING", ""), <<"\",\"event\":">>, Event, <<"}">>];
        _ -> throw({"InvalidEvent", "asked to fail"})
    end.
