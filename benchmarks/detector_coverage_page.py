"""The page that `detector_coverage.py` writes, with a placeholder for every number."""

PAGE = """# Coverage of held-out intervals

A detector's AUC is computed on held-out samples, in folds, repeated five times. Its interval must account for the
sampling of test samples and of training samples. The second part cannot be estimated without bias from one table,
because training sets overlap. This page describes the method and its coverage in simulations. The true value is the
expectation of the procedure at the given number of samples: the mean over all simulated studies of a kind.

There are {of_detectors} studies per kind of detector ({fewer} where fits are slow), {of_forests} of forests and
{studies} of everything else: the error of a percentage of detectors is about {error} points. All statistics are
computed by the package's own functions.

## Method

1. **Conditional on the fits**, pairs of a positive and a negative are compared within one fold only. The variance sums,
   over any two pairs that share a group, the product of their deviations from the AUC of all folds, and counts two
   pairs that share both groups once. DeLong's variance fold by fold is too small where a fold has few samples of a
   label: a single positive seems to have no variance.
2. **For overlapping training sets**, that variance of one repeat is multiplied by 1 / repeats + folds x (test size /
   training size), the corrected resampled variance of Nadeau and Bengio (2003): 1.45 for five repeats of five folds,
   2.25 for one, 1.25 for a single split that holds out a fifth. None of these numbers was tuned.
3. **The interval** has the score-type limits of [intervals](intervals.md) with that variance, not shrunk, and the
   quantile of Student's t; the degrees of freedom are the effective number of groups of the rarer label minus 1. A
   difference of two AUCs is symmetric: the difference plus and minus t standard errors. Its variance is that of
   DeLong, DeLong and Clarke-Pearson for correlated AUCs, over groups, with the same factor. Its one-sided p-value is
   that of the same t.
4. **For increments over baselines**, (folds - 1) times the variance between repeats is added to the variance of the
   interval, the factor of a jackknife that leaves out one fold (Shao and Wu 1989). Which baselines are of use is
   decided on training samples, and other samples would decide otherwise; repeats show how much that changes. It is a
   heuristic, chosen by the simulations below. The p-value keeps its own variance, because without a signal nothing is
   added on most training samples. So the interval of an increment can include 0 where its p-value is small.

So the interval is neither DeLong's nor Hanley and McNeil's nor a logit interval, which are for scores that no model was
fitted for, and not the resampled t-test itself, which takes the variance from the spread between splits. The level is
the setting `level` of a study, 95 % by default; everything below is measured at 95 %.

## Detectors

The model of the detectors: one Newton step of ridge logistic regression, with the penalty chosen on inner held-out
groups, five folds. Features are normal; the three numbers of a cell are for no effect, a medium and a strong effect.
*Within strata*: only pairs of the same of three task types, which are independent of everything here, so the truth is
the same.

| samples | groups | features | true AUC | five repeats, % | one repeat, % | within strata, five repeats, % |
|---|---|---|---|---|---|---|
{aucs}

Coverage with five repeats, the default: {five_range}. One repeat: {one_range}. Within strata: {within_range}.

Coverage is near 95 % for detectors with many columns. It is higher for a single column, within strata, and with one
repeat: a single column leaves little to fit, and the correction assumes more. It is lowest where a label has ten
samples or about a dozen groups; below ten there is no verdict. An interval above one half occurred in {alarms}
of all studies without an effect.

## Increments over a baseline

AUC of a baseline and twenty columns together, minus that of the baseline, of nested models as in
[verdicts](verdicts.md). The baseline is one column that is correlated with the first of the twenty.

| samples | groups | effect | increment | five repeats, % | one repeat, % |
|---|---|---|---|---|---|
{gains}

Coverage with five repeats: {gain_range}. Without an effect, the one-sided p-value, from which verdicts
are made, was at most 5 % in {gain_alarms} of the studies.

Without the variance between repeats, five repeats covered in 73 to 95 %, median 87 %: where samples are few and the
baseline is weak, the inner held-out groups of some training sets show no use of it, and its AUC is one half, of others
not. With one repeat nothing shows how much that changes, and the interval is still too short; increments of exactly 0
then have an interval of no width. A study with more than 1,000 samples has at least two repeats. Where a label has
fewer than 20 groups, the sentence of the verdict calls the interval rough.

## Forests on rows

Twenty trees on rows of three shares, twenty heads per sample (twelve with 150 samples), three folds, three repeats.
Mean AUC, and coverage of the interval. *Row split* and *placebo* use one random split of rows: their intervals are over
the samples of that split. They describe the variation of the score over samples, not whether the score is leakage; that
is shown by the placebo and by held-out groups. Last, the permutation importances of the first two columns on held-out
groups.

| table | held-out groups | row split | placebo | permutation importances |
|---|---|---|---|---|
{forests}

## Threshold rules

A cut chosen on four fifths of the groups and evaluated on the rest, once, six rows per sample. The interval is the
percentile interval over resampled groups, widened by the root of 2.25, because other samples would have given other
cuts. Without this factor, the interval of Youden's index covered in {given}.

| table | Youden | F1 | balanced accuracy | accuracy |
|---|---|---|---|---|
{rules}

## Transfer to another dataset

Fitted on one dataset of twenty columns, evaluated on 100 samples of another. The interval is conditional on the fitted
detector. It is not meant for the mean of all detectors that could be fitted on as many samples, and covers that mean
less often where a detector depends strongly on its training samples.

| training samples | effect | mean AUC | covers this detector's AUC, % | covers the mean of all such detectors, % |
|---|---|---|---|---|
{transfer}

Made by `python benchmarks/detector_coverage.py --write docs/concepts/held-out-intervals.md` ({machine}).
"""
