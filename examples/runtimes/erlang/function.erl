%% A function in Erlang. What is in the process dictionary stays for the next event.
-module(function).
-export([init/0, handler/1, streams/1]).

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
    case {asks(Event, <<"\"environment\"">>), asks(Event, <<"\"layer\"">>)} of
        {true, _} -> environment();
        {_, true} -> lambda_runtime:text(who:who()); % of an application in a layer, below /opt/erlang
        _ -> echo(Count, Event)
    end.

%% Bit by bit, as it is sent.
streams(Event) ->
    {stream, fun(Send) ->
        Send(<<"first,">>),
        asks(Event, <<"\"fail\"">>) andalso throw({"InvalidEvent", "asked to fail"}),
        Send(<<"second">>)
    end}.

echo(Count, Event) ->
    [<<"{\"count\":">>, integer_to_binary(Count), <<",\"greeting\":\"">>,
     os:getenv("GREETING", ""), <<"\",\"event\":">>, Event, <<"}">>].

environment() ->
    Text = fun lambda_runtime:text/1,
    Pairs = [[Text(Name), $:, Text(Value)] || {Name, Value} <- os:env()],
    [${, lists:join($,, Pairs), $}].

asks(Event, What) -> binary:match(Event, What) =/= nomatch.
