%% A runtime for handlers in Erlang, over a socket and nothing but kernel and stdlib.
%% The handler is MODULE.FUNCTION, called with the event, a binary of JSON; it returns iodata of
%% JSON, or throws {Type, Message}. A handler that returns {stream, Fun} answers bit by bit:
%% Fun is called with a function that sends iodata. MODULE:init/0, where there is one, runs first.
-module(lambda_runtime).
-export([main/0, text/1]).

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
    os:putenv("_X_AMZN_TRACE_ID", maps:get("lambda-runtime-trace-id", Headers, "")),
    put(lambda_stream, closed),
    Path = ["/invocation/", Id, "/response"],
    try answer(Api, Path, Module:Function(Event))
    catch Class:Reason:Stack ->
        failed(Api, ["/invocation/", Id, "/error"], fault(Class, Reason, Stack))
    end,
    {_, _, _} = receive_answer(Api),
    serve(Api, Module, Function).

answer(Api, Path, {stream, Fun}) ->
    Fun(fun(Data) -> piece(Api, Path, iolist_to_binary(Data)) end),
    open(Api, Path), % if nothing was sent
    ok = gen_tcp:send(Api, "0\r\n\r\n");
answer(Api, Path, Body) ->
    send(Api, "POST", Path, iolist_to_binary(Body)).

%% An error in the middle of a stream is told in trailers.
failed(Api, Path, Fault) ->
    case get(lambda_stream) of
        closed -> send(Api, "POST", Path, Fault);
        open ->
            ok = gen_tcp:send(Api, [
                "0\r\nLambda-Runtime-Function-Error-Type: Function.Error\r\n"
                "Lambda-Runtime-Function-Error-Body: ", base64:encode(Fault), "\r\n\r\n"])
    end.

piece(_, _, <<>>) -> ok;
piece(Api, Path, Data) ->
    open(Api, Path),
    Size = integer_to_list(byte_size(Data), 16),
    ok = gen_tcp:send(Api, [Size, "\r\n", Data, "\r\n"]).

open(Api, Path) ->
    case put(lambda_stream, open) of
        open -> ok;
        closed ->
            ok = gen_tcp:send(Api, [head("POST", Path),
                "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
                "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
                "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
                "\r\n\r\n"])
    end.

%% One connection, kept. How long the next event takes is not ours to say: no time-outs.

address() ->
    [Host, Port] = string:split(os:getenv("AWS_LAMBDA_RUNTIME_API"), ":", trailing),
    {Host, list_to_integer(Port)}.

connect(Host, Port) ->
    Options = [binary, {active, false}, {packet, http}, {nodelay, true}],
    {ok, Socket} = gen_tcp:connect(Host, Port, Options),
    Socket.

call(Socket, Method, Path, Body) ->
    send(Socket, Method, Path, Body),
    receive_answer(Socket).

send(Socket, Method, Path, Body) ->
    ok = gen_tcp:send(Socket, [
        head(Method, Path), "Content-Type: application/json\r\nContent-Length: ",
        integer_to_list(byte_size(Body)), "\r\n\r\n", Body]).

head(Method, Path) ->
    {Host, Port} = address(),
    [Method, " /2018-06-01/runtime", Path, " HTTP/1.1\r\nHost: ", Host, ":",
     integer_to_list(Port), "\r\n"].

receive_answer(Socket) ->
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
