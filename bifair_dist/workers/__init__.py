"""Workers: processes that do the same work together, on Ray Train, under torchrun, or on this machine.

    with torchrun_worker(cluster) as me:                # None unless torchrun started this process
        job = on_first(me, prepare)                     # once, whatever the number of processes
        result = run_workers(body, cluster, me=me)      # body(worker) in every process; the first one's result

`body` and its result are pickled (also on this machine): a module's function, or a `functools.partial` of one.
"""
