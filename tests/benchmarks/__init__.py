"""How fast it is, beside others: ``python -m tests.benchmarks``. Not collected by pytest.

``command`` decides what is done. ``running`` starts ``server`` and a ``worker`` for each of the ``peers`` and has
them run the ``cases``; ``scaling`` starts the programs in ``growth``; ``flames`` has py-spy look at a worker. What
they find is a report (``reporting``), judged by ``goals`` and ``baseline``, and shown by ``screen``, ``markdown``
(both from ``table``), ``chart`` and ``plots``. Only servers, peers and the two that draw need packages beyond the
extra ``[test]``, and import them late.
"""
