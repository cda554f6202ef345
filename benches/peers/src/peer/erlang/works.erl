%% The works in Erlang: the same loops as stopwatch.rs, and the same lines on standard output.
-module(works).
-export([main/1]).

%% `erl -s works main Role Task Argument WarmUp Span [Server]`, times in milliseconds.
main([server | _]) -> guard(fun() -> serve(counter) end);
main([client, Task, Argument, WarmUp, Span | Server]) ->
    Number = fun(Atom) -> list_to_integer(atom_to_list(Atom)) end,
    Times = {Number(WarmUp), Number(Span)},
    Work = {Task, Number(Argument)},
    guard(fun() -> measure(Work, Times, Server) end).

%% An error ends the program, and so does the end of its input: the driver has gone then.
guard(Work) ->
    spawn(fun() -> io:get_line(""), erlang:halt(0) end),
    spawn(fun() ->
        try Work() catch Class:Reason:Stack ->
            io:format(standard_error, "~p ~p ~p~n", [Class, Reason, Stack]),
            erlang:halt(1)
        end
    end).

%% Nothing is special about the receiver: no priority, the default heap and message queue.
serve(Name) ->
    register(Name, spawn(fun counter/0)),
    io:format("{\"Ready\":{\"address\":\"~s\"}}~n", [node()]).

counter() -> counter(0).
counter(N) ->
    receive
        {tick, _Body} -> counter(N + 1);
        {echo, From, Ref, Body} -> From ! {Ref, Body}, counter(N);
        {total, From, Ref} -> From ! {Ref, N}, counter(N)
    end.

measure({idle, Count}, _, []) ->
    idle(2000),
    say_begin(),
    Before = resident(),
    Start = now_ns(),
    Pids = idle(Count),
    Elapsed = now_ns() - Start,
    Bytes = resident() - Before,
    Count = length(Pids),
    say([{spawn, Elapsed / 1000 / Count}, {bytes, Bytes / Count}, {count, Count}]);
measure(Work, {WarmUp, Span}, Server) ->
    {Counter, Options} = counter_of(Work, Server),
    Self = self(),
    %% The measurer is an ordinary process; locally it may have to be on a given scheduler.
    spawn_opt(fun() ->
        try
            pass(Work, WarmUp, Counter),
            say_begin(),
            Self ! {measured, pass(Work, Span, Counter)}
        catch Class:Reason:Stack -> Self ! {failed, {Class, Reason, Stack}}
        end
    end, Options),
    receive
        {measured, Outcome} -> say(Outcome);
        {failed, Why} -> error(Why)
    end.

counter_of({Task, _}, []) when Task =:= local_tell_apart; Task =:= local_ask_apart ->
    {spawn_opt(fun counter/0, [{scheduler, 1}]), [{scheduler, 2}]};
counter_of(_, []) -> {spawn(fun counter/0), []};
counter_of(_, [Node]) ->
    pong = net_adm:ping(Node),
    %% As usual, the name is looked up once and the pid is used from then on.
    {rpc:call(Node, erlang, whereis, [counter]), []}.

pass({local_tell, _}, Span, Counter) -> tell_in_bursts(Span, Counter);
pass({local_tell_apart, _}, Span, Counter) -> tell_in_bursts(Span, Counter);
pass({local_ask, _}, Span, Counter) -> ask_in_turn(Span, 64, Counter);
pass({local_ask_apart, _}, Span, Counter) -> ask_in_turn(Span, 1, Counter);
pass({ask, 1}, Span, Counter) -> ask_in_turn(Span, 1, Counter);
pass({ask, InFlight}, Span, Counter) -> ask_side_by_side(Span, InFlight, Counter);
pass({one_way, Bytes}, Span, Counter) -> tell_all_the_time(Span, Bytes, Counter).

body(Bytes) -> binary:copy(<<16#5a>>, Bytes).

%% A 64-byte binary lives on the heap of its process, so it is copied, as everywhere.
tell(0, _, _) -> ok;
tell(N, Counter, Body) -> Counter ! {tick, Body}, tell(N - 1, Counter, Body).

%% What gen_server:call does: a monitor, whose reference marks the answer.
ask(Counter, Make) ->
    Ref = erlang:monitor(process, Counter),
    Counter ! Make(Ref),
    receive
        {Ref, Answer} -> erlang:demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, _, _, Reason} -> error(Reason)
    after 60000 -> error(timeout)
    end.

total(Counter) -> ask(Counter, fun(Ref) -> {total, self(), Ref} end).
echo(Counter, Body) -> ask(Counter, fun(Ref) -> {echo, self(), Ref, Body} end).

tell_in_bursts(Span, Counter) ->
    Before = total(Counter),
    Start = now_ns(),
    Body = body(64),
    Loop = fun Loop(Sent) ->
        tell(1000, Counter, Body),
        Handled = total(Counter) - Before,
        Handled = Sent + 1000,
        Elapsed = now_ns() - Start,
        case Elapsed >= Span * 1000000 of
            true -> rate(Handled, Elapsed, 0);
            false -> Loop(Handled)
        end
    end,
    Loop(0).

tell_all_the_time(Span, Bytes, Counter) ->
    Body = body(Bytes),
    Stretch = max(1, min(256, (4 bsl 20) div Bytes)),
    Before = total(Counter),
    Start = now_ns(),
    Loop = fun Loop(Sent) ->
        tell(Stretch, Counter, Body),
        case now_ns() - Start >= Span * 1000000 of
            true -> Sent + Stretch;
            false -> Loop(Sent + Stretch)
        end
    end,
    Sent = Loop(0),
    Sent = total(Counter) - Before,
    rate(Sent, now_ns() - Start, Bytes).

ask_in_turn(Span, Group, Counter) ->
    Body = body(64),
    Start = now_ns(),
    Loop = fun Loop(Last, Times) ->
        [echo(Counter, Body) || _ <- lists:seq(1, Group)],
        Now = now_ns(),
        Next = [(Now - Last) / Group | Times],
        case Now - Start >= Span * 1000000 of
            true -> Next;
            false -> Loop(Now, Next)
        end
    end,
    Sorted = lists:sort(Loop(Start, [])),
    Count = length(Sorted),
    Quantile = fun(Q) -> lists:nth(max(1, ceil(Q * Count)), Sorted) / 1000 end,
    [{p50, Quantile(0.5)}, {p99, Quantile(0.99)}, {count, Count * Group}].

ask_side_by_side(Span, InFlight, Counter) ->
    Body = body(64),
    Start = now_ns(),
    Loop = fun Loop(N) ->
        case now_ns() - Start >= Span * 1000000 of
            true -> exit({asked, N});
            false -> echo(Counter, Body), Loop(N + 1)
        end
    end,
    Askers = [spawn_monitor(fun() -> Loop(0) end) || _ <- lists:seq(1, InFlight)],
    Counts = [receive {'DOWN', Ref, _, _, {asked, N}} -> N end || {_, Ref} <- Askers],
    rate(lists:sum(Counts), now_ns() - Start, 0).

%% Comes back when all have started.
idle(Count) ->
    Started = counters:new(1, []),
    Pids = [spawn(fun() -> counters:add(Started, 1, 1), receive stop -> ok end end)
            || _ <- lists:seq(1, Count)],
    wait(Started, Count),
    Pids.

wait(Started, Count) ->
    case counters:get(Started, 1) of
        Count -> ok;
        _ -> erlang:yield(), wait(Started, Count)
    end.

%% Bytes of the emulator that are in memory.
resident() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = string:lexemes(binary_to_list(Text), " "),
    list_to_integer(Pages) * list_to_integer(string:trim(os:cmd("getconf PAGESIZE"))).

rate(Count, Nanos, Bytes) ->
    [{rate, Count * 1000 / Nanos}, {byte_rate, Count * Bytes / Nanos}, {count, Count}].

now_ns() -> erlang:monotonic_time(nanosecond).

say_begin() -> io:format("{\"Begin\":{}}~n").
say(Outcome) ->
    Pairs = [io_lib:format("\"~s\":~p", [Key, float(Value)]) || {Key, Value} <- Outcome],
    io:format("{\"Measured\":{~s}}~n", [lists:join(",", Pairs)]).
