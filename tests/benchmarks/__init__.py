"""Speed compared with other libraries: ``python -m tests.benchmarks``. Not collected by pytest.

``command`` selects the actions. ``running`` starts ``server`` and a ``worker`` for each of the ``peers`` and makes
them run the ``cases``; ``scaling`` starts the programs in ``growth``; ``flames`` runs py-spy on a worker. Their
results are a report (``reporting``), evaluated by ``goals`` and ``baseline``, and shown by ``screen``, ``markdown``
(both from ``table``), ``chart`` and ``plots``. Only servers, peers and the two that draw need packages beyond the
extra ``[test]``, and import them late.
"""
