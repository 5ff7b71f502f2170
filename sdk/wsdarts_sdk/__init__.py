"""Transfer Architecture Search with torch: tasks, Task2Vec, supernet, search, training.

Packages import downwards only::

    pipelines                      what users start: embed, search, warm start, train
    reports                        facts of a run as pages, charts and notebook views
    artifacts                      between runs and published artifacts
    presets                        settings of searches and trainings by name
    models  search                 derived networks: training, prediction, export; the search itself
    supernet  task2vec             the engine; the embedding
    data                           images and their split
    runs                           run directories
    compiler, devices, distributed, progress, schedule, setting_fields

All of it may import the last of these and ``wsdarts_registry``. What is stable is what
``wsdarts_hub`` names; everything else may change.
"""
