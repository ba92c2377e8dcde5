"""A card worked out from the host's files. Each key has one owner, which puts it once; `layout.detect` calls them
in this order, and each reads only what stands above it:

    title, on_bad_image                             layout.detect
    train.* but the label                           train.from_table, or listing.from_names
    test.* of a table or sample                     test.find_test
    train.label, train.label_separator              decide.put_label
    validation.*, and train.id again where          layout._validation
      file names must be unique over both parts
    test.* of a folder                              test.test_folder
    target, submission.*, metric, classes           decide.put_target
    group                                           layout._groups
    test_labels                                     layout._test_labels
    kaggle, archive                                 prepared

What the user gives wins in draft.put, wherever it is put; draft.finish takes over what nobody found.
"""
