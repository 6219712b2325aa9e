%% A runtime for handlers in Erlang, over a socket and nothing but kernel and stdlib.
%% The handler is MODULE.FUNCTION, called with the event, a binary of JSON; it returns iodata of
%% JSON, or throws {Type, Message}. MODULE:init/0, where there is one, runs first.
-module(lambda_runtime).
-export([main/0]).

main() ->
    {Host, Port} = address(),
    Api = connect(Host, Port),
    [Module, Function] = [list_to_atom(Part) || Part <- string:split(os:getenv("_HANDLER"), ".")],
    try start(Module)
    catch Class:Reason:Stack ->
        {_, _, _} = call(Api, "POST", "/init/error", fault(Class, Reason, Stack)),
        halt(1)
    end,
    serve(Api, Module, Function).

start(Module) ->
    {module, Module} = code:ensure_loaded(Module),
    case erlang:function_exported(Module, init, 0) of
        true -> Module:init();
        false -> ok
    end.

serve(Api, Module, Function) ->
    {200, Headers, Event} = call(Api, "GET", "/invocation/next", <<>>),
    #{"lambda-runtime-aws-request-id" := Id} = Headers,
    {What, Body} =
        try {"/response", iolist_to_binary(Module:Function(Event))}
        catch Class:Reason:Stack -> {"/error", fault(Class, Reason, Stack)}
        end,
    {_, _, _} = call(Api, "POST", ["/invocation/", Id, What], Body),
    serve(Api, Module, Function).

%% One connection, kept. How long the next event takes is not ours to say: no time-outs.

address() ->
    [Host, Port] = string:split(os:getenv("AWS_LAMBDA_RUNTIME_API"), ":", trailing),
    {Host, list_to_integer(Port)}.

connect(Host, Port) ->
    Options = [binary, {active, false}, {packet, http}, {nodelay, true}],
    {ok, Socket} = gen_tcp:connect(Host, Port, Options),
    Socket.

call(Socket, Method, Path, Body) ->
    {Host, Port} = address(),
    ok = gen_tcp:send(Socket, [
        Method, " /2018-06-01/runtime", Path, " HTTP/1.1\r\nHost: ", Host, ":",
        integer_to_list(Port), "\r\nContent-Type: application/json\r\nContent-Length: ",
        integer_to_list(byte_size(Body)), "\r\n\r\n", Body]),
    ok = inet:setopts(Socket, [{packet, http}]),
    {ok, {http_response, _, Status, _}} = gen_tcp:recv(Socket, 0),
    Headers = headers(Socket, #{}),
    ok = inet:setopts(Socket, [{packet, raw}]),
    {Status, Headers, body(Socket, list_to_integer(maps:get("content-length", Headers, "0")))}.

headers(Socket, Known) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, {http_header, _, Name, _, Value}} ->
            headers(Socket, Known#{string:lowercase(to_list(Name)) => Value});
        {ok, http_eoh} -> Known
    end.

to_list(Name) when is_atom(Name) -> atom_to_list(Name);
to_list(Name) -> Name.

%% In pieces: one recv takes 64 MB at most, and less memory is better.
body(Socket, Size) -> iolist_to_binary(pieces(Socket, Size)).

pieces(_, 0) -> [];
pieces(Socket, Left) ->
    {ok, Piece} = gen_tcp:recv(Socket, min(Left, 65536)),
    [Piece | pieces(Socket, Left - byte_size(Piece))].

fault(throw, {Type, Message}, _) -> error_json(Type, Message, []);
fault(Class, Reason, Stack) ->
    error_json(atom_to_list(Class), io_lib:format("~0p", [Reason]), Stack).

error_json(Type, Message, Stack) ->
    io:format(standard_error, "~ts: ~ts~n", [Type, Message]),
    Trace = lists:join(",", [text(io_lib:format("~0p", [Frame])) || Frame <- Stack]),
    iolist_to_binary([
        "{\"errorType\":", text(Type), ",\"errorMessage\":", text(Message),
        ",\"stackTrace\":[", Trace, "]}"]).

text(Characters) ->
    [$", [escape(C) || C <- unicode:characters_to_list(Characters)], $"].

escape($") -> "\\\"";
escape($\\) -> "\\\\";
escape(C) when C < 32 -> io_lib:format("\\u~4.16.0b", [C]);
escape(C) -> unicode:characters_to_binary([C]).
