#!/usr/bin/env escript
%% Erlang's side of the runtime's scenarios: one scenario in one process, its numbers as JSON on the last line.
%% Run with one scheduler (ERL_FLAGS="+S 1"), as the others have one core. No limits, no storage; processes are its own.
-mode(compile).

-define(BURST, 64).

main([Name | Options]) ->
    Scale = case lists:member("--quick", Options) of true -> 0.1; false -> 1.0 end,
    io:format("~s~n", [json(scenario(Name, Scale))]).

scenario("tell", Scale) -> tell_in_bursts(round(4000000 * Scale));
scenario("tell-bounded", Scale) -> tell_in_bursts(round(4000000 * Scale));
scenario("tell-traced", Scale) -> tell_in_bursts(round(4000000 * Scale));
scenario("ask", Scale) -> #{per_second => ask_from(1, round(600000 * Scale))};
scenario("ask-100", Scale) -> #{per_second => ask_from(100, round(600000 * Scale))};
scenario("spawn", Scale) ->
    Count = round(100000 * Scale),
    {Micros, _} = timer:tc(fun() -> wake(Count) end),
    #{per_second => Count * 1.0e6 / Micros};
scenario("memory-warm", Scale) ->
    Count = round(100000 * Scale),
    Before = erlang:memory(total),
    Pids = wake(Count),
    erlang:garbage_collect(),
    After = erlang:memory(total),
    #{kb_each => (After - Before) / Count / 1024, pids => length(Pids)};
scenario("drain", Scale) ->
    Count = round(100000 * Scale),
    Pids = wake(Count),
    {Micros, _} = timer:tc(fun() ->
        [begin Pid ! {add, 1}, Pid ! stop end || Pid <- Pids],
        Monitors = [monitor(process, Pid) || Pid <- Pids],
        [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors]
    end),
    #{per_second => Count * 1.0e6 / Micros, seconds => Micros / 1.0e6};
scenario("crash", Scale) ->
    Count = round(50000 * Scale),
    error_logger:tty(false),
    Pids = wake(Count),
    {Micros, _} = timer:tc(fun() ->
        Monitors = [monitor(process, Pid) || Pid <- Pids],
        [Pid ! crash || Pid <- Pids],
        [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors],
        wake(Count)
    end),
    #{per_second => Count * 1.0e6 / Micros};
scenario("bystander", Scale) ->
    Burners = [spawn(fun() -> burner() end) || _ <- lists:seq(1, 50)],
    [Pid ! burn || Pid <- Burners, _ <- lists:seq(1, 16)],
    Bystander = spawn(fun() -> counter(0) end),
    timer:sleep(100),
    Ends = now_micros() + round(10000000 * Scale),
    Latencies = lists:sort(bystand(Bystander, Ends, [])),
    #{p50_ms => at(Latencies, 0.5), p99_ms => at(Latencies, 0.99)}.

counter(Total) ->
    receive
        {add, By} -> counter(Total + By);
        {look, From, Reference} -> From ! {Reference, Total}, counter(Total);
        crash -> exit(crash);
        stop -> ok
    end.

look(Pid) ->
    Monitor = monitor(process, Pid),
    Pid ! {look, self(), Monitor},
    receive
        {Monitor, Total} -> demonitor(Monitor, [flush]), Total
    after 5000 -> exit(timeout)
    end.

wake(Count) ->
    Pids = [spawn(fun() -> counter(0) end) || _ <- lists:seq(1, Count)],
    [Pid ! {add, 1} || Pid <- Pids],
    [1 = look(Pid) || Pid <- Pids],
    Pids.

tell_in_bursts(Count) ->
    Pid = spawn(fun() -> counter(0) end),
    Bursts = Count div ?BURST,
    {Micros, Total} = timer:tc(fun() ->
        [begin [Pid ! {add, 1} || _ <- lists:seq(1, ?BURST)], erlang:yield() end || _ <- lists:seq(1, Bursts)],
        look(Pid)
    end),
    Total = Bursts * ?BURST,
    #{per_second => Total * 1.0e6 / Micros}.

ask_from(Callers, Count) ->
    Pid = spawn(fun() -> counter(0) end),
    Each = Count div Callers,
    {Micros, _} = timer:tc(fun() ->
        Monitors = [monitor(process, spawn(fun() -> [look(Pid) || _ <- lists:seq(1, Each)] end))
                    || _ <- lists:seq(1, Callers)],
        [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors]
    end),
    Callers * Each * 1.0e6 / Micros.

burner() ->
    receive burn -> burn_until(now_micros() + 20), self() ! burn, burner() end.

burn_until(Until) ->
    case now_micros() < Until of true -> burn_until(Until); false -> ok end.

bystand(Pid, Ends, Latencies) ->
    case now_micros() < Ends of
        false -> Latencies;
        true ->
            {Micros, _} = timer:tc(fun() -> look(Pid) end),
            timer:sleep(2),
            bystand(Pid, Ends, [Micros / 1000 | Latencies])
    end.

at(Sorted, Share) -> lists:nth(max(1, trunc(length(Sorted) * Share)), Sorted).

now_micros() -> erlang:monotonic_time(microsecond).

json(Numbers) ->
    Pairs = [io_lib:format("\"~s\": ~w", [Key, Value]) || {Key, Value} <- maps:to_list(Numbers)],
    ["{", lists:join(", ", Pairs), "}"].
