/* Rows of attention, weighed a strip at a time.
 *
 * A strip is the scores of some rows over all keys. It is made, turned into weights and asked for everything that is to
 * be known of it before it leaves the processor's cache. `strips.py` declares the same structures.
 */

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Sums and maxima are taken side by side, in wide registers, which keeps rounding errors small too. */
#define LANES 64

#define LARGER(a, b) ((a) > (b) ? (a) : (b))

/* Below it the exponential of a float is no normal number, and nothing beside a row's largest weight. */
#define LEAST_LOGARITHM -87.0f

#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE
#endif
/* Loops become part of what is made for each kind of processor. */
#define LOOP static inline __attribute__((always_inline))

/* `sgemm` as Fortran has it: matrices are stored column by column, so ours, stored by rows, come to it transposed. */
typedef void (*product_function)(const char *, const char *, const int *, const int *, const int *, const float *,
                                 const float *, const int *, const float *, const int *, const float *, float *,
                                 const int *);

/* (sample, head, row, number) with strides in numbers; those of a row stand side by side. */
typedef struct {
    const float *first;
    int64_t sample, head, row;
} table;

/* What is added to the scores of `n_keys` keys from `first_key` on; samples come again after `n_samples`. */
typedef struct {
    table values;
    int64_t n_samples, first_key, n_keys;
} addition;

/* Neighbouring keys of one segment. */
typedef struct {
    int64_t segment, first, stop;
} run;

typedef struct {
    int64_t n_samples, n_heads, n_shared, n_rows, n_keys, width, value_width, n_segments;
    int64_t n_segmented;        /* samples whose segments are told; they come again after those */
    int64_t samples_per_factor; /* neighbouring samples that write through the same factors */
    int64_t n_together;         /* rows of each head in a strip */
    int64_t n_additions, room_size;
    float scale;
    table query, key, value, output; /* keys and values have fewer heads; no value: no contributions */
    addition additions[2];
    const run *runs;
    const int64_t *runs_from;   /* (sample + 1) where each sample's runs begin */
    const int64_t *left;        /* (sample) segment whose part is what others leave of the output; -1: none */
    const float *factor;        /* (factor, head, value width, value width), or nothing */
    float *mass, *contribution; /* (sample, head, row, segment) */
    float *entropy;             /* (sample, head, row), or nothing */
    float *room;                /* `room_size` numbers for each thread */
    product_function product;
} question;

/* The same rows of all heads that share keys and values, one head after the other. */
typedef struct {
    int64_t sample, group, row;
    int64_t n;         /* rows of each head */
    int64_t size;      /* of all heads together */
    int64_t segmented; /* sample that has the same segments */
    float *queries, *weights, *totals, *masses, *parts, *written;
} strip;

static const float one = 1.0f, zero = 0.0f;

LOOP const float *rows_of(const table *of, int64_t sample, int64_t head, int64_t row) {
    return of->first + sample * of->sample + head * of->head + row * of->row;
}

LOOP int64_t head_of(const question *asked, const strip *own, int64_t i) {
    return own->group * asked->n_shared + i / own->n;
}

LOOP const float *row_of(const table *of, const question *asked, const strip *own, int64_t i) {
    return rows_of(of, own->sample, head_of(asked, own, i), own->row + i % own->n);
}

/* Which of all rows of all heads of all samples it is. */
LOOP int64_t place_of(const question *asked, const strip *own, int64_t i) {
    return (own->sample * asked->n_heads + head_of(asked, own, i)) * asked->n_rows + own->row + i % own->n;
}

LOOP void add(float *to, const float *from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

LOOP void subtract(float *from, const float *what, int64_t n) {
    for (int64_t i = 0; i < n; i++) from[i] -= what[i];
}

LOOP void multiply(float *to, const float *from, float by, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = from[i] * by;
}

LOOP float largest(const float *numbers, int64_t n) {
    float lane[LANES], most = -INFINITY;
    int64_t i = 0;
    if (n >= LANES) {
        for (int64_t j = 0; j < LANES; j++) lane[j] = numbers[j];
        for (i = LANES; i + LANES <= n; i += LANES)
            for (int64_t j = 0; j < LANES; j++) lane[j] = LARGER(numbers[i + j], lane[j]);
        for (int64_t j = 0; j < LANES / 2; j++) lane[j] = LARGER(lane[j + LANES / 2], lane[j]);
        for (int64_t j = 0; j < LANES / 4; j++) lane[j] = LARGER(lane[j + LANES / 4], lane[j]);
        for (int64_t j = 0; j < LANES / 4; j++) most = LARGER(lane[j], most);
    }
#pragma omp simd reduction(max : most)
    for (int64_t j = i; j < n; j++) most = LARGER(numbers[j], most);
    return most;
}

LOOP float sum(const float *numbers, int64_t n) {
    float lane[LANES], total = 0.0f;
    int64_t i = 0;
    if (n >= LANES) {
        for (int64_t j = 0; j < LANES; j++) lane[j] = numbers[j];
        for (i = LANES; i + LANES <= n; i += LANES)
            for (int64_t j = 0; j < LANES; j++) lane[j] += numbers[i + j];
        for (int64_t j = 0; j < LANES / 2; j++) lane[j] += lane[j + LANES / 2];
        for (int64_t j = 0; j < LANES / 4; j++) lane[j] += lane[j + LANES / 4];
        for (int64_t j = 0; j < LANES / 8; j++) lane[j] += lane[j + LANES / 8];
        for (int64_t j = 0; j < LANES / 8; j++) total += lane[j];
    }
#pragma omp simd reduction(+ : total)
    for (int64_t j = i; j < n; j++) total += numbers[j];
    return total;
}

LOOP float norm(const float *numbers, int64_t n) {
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++) squares += numbers[i] * numbers[i];
    return sqrtf(squares);
}

/* Turn scores into weights, the largest score's being 1; return the sum of each weight times its logarithm.
 *
 * exp(x) = 2^k exp(r): adding 1.5 * 2^23 rounds x / log 2 to the integer k and leaves it in the lowest bits, and on
 * |r| <= log(2) / 2 a polynomial is exact to a float's last bit (the coefficients are those of Cephes' expf).
 */
LOOP float exponentials(float *scores, int64_t n, float most) {
    float surprise = 0.0f;
#pragma omp simd reduction(+ : surprise)
    for (int64_t i = 0; i < n; i++) {
        float below = scores[i] - most;
        float logarithm = below < LEAST_LOGARITHM ? LEAST_LOGARITHM : below;
        union {
            float number;
            int32_t bits;
        } rounded, power;
        rounded.number = logarithm * 1.44269504088896341f + 12582912.0f;
        power.bits = (int32_t)((uint32_t)rounded.bits << 23) + (127 << 23);
        float k = rounded.number - 12582912.0f;
        float r = logarithm - k * 0.693359375f - k * -2.12194440e-4f;
        float p = 1.9875691500e-4f;
        p = p * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        p = p * r * r + r + 1.0f;
        float weight = below < LEAST_LOGARITHM ? 0.0f : p * power.number;
        scores[i] = weight;
        surprise += weight * logarithm;
    }
    return surprise;
}

/* Make the scores of a strip: queries (row, width) times keys (key, width) transposed. */
WIDE static void score(const question *asked, const strip *own) {
    const int n_keys = (int)asked->n_keys, size = (int)own->size, width = (int)asked->width;
    const int key_stride = (int)asked->key.row;
    for (int64_t i = 0; i < own->size; i++)
        memcpy(own->queries + i * width, row_of(&asked->query, asked, own, i), sizeof(float) * (size_t)width);
    asked->product("T", "N", &n_keys, &size, &width, &asked->scale, rows_of(&asked->key, own->sample, own->group, 0),
                   &key_stride, own->queries, &width, &zero, own->weights, &n_keys);
    for (int64_t i = 0; i < own->size; i++)
        for (int64_t a = 0; a < asked->n_additions; a++) {
            const addition *added = &asked->additions[a];
            const float *values = rows_of(&added->values, own->sample % added->n_samples, head_of(asked, own, i),
                                          own->row + i % own->n);
            add(own->weights + i * asked->n_keys + added->first_key, values, added->n_keys);
        }
}

/* Turn scores into weights, and write down masses and entropies. */
WIDE static void weigh(const question *asked, const strip *own) {
    const int64_t n_keys = asked->n_keys, n_segments = asked->n_segments;
    const run *from = asked->runs + asked->runs_from[own->segmented];
    const run *to = asked->runs + asked->runs_from[own->segmented + 1];
    memset(own->masses, 0, sizeof(float) * (size_t)(own->size * n_segments));
    for (int64_t i = 0; i < own->size; i++) {
        const int64_t place = place_of(asked, own, i);
        float *weights = own->weights + i * n_keys, *masses = own->masses + i * n_segments, total = 0.0f;
        const float surprise = exponentials(weights, n_keys, largest(weights, n_keys));
        int64_t key = 0;
        for (const run *at = from; at < to; key = at->stop, at++) {
            const float mass = sum(weights + at->first, at->stop - at->first);
            /* Padding before it is in no segment. */
            total += mass + sum(weights + key, at->first - key);
            masses[at->segment] += mass;
        }
        total += sum(weights + key, n_keys - key);
        own->totals[i] = total;
        for (int64_t s = 0; s < n_segments; s++) asked->mass[place * n_segments + s] = masses[s] / total;
        if (asked->entropy) asked->entropy[place] = logf(total) - surprise / total;
    }
}

/* Take the products of each segment's weights and values; one segment's part may be what the others leave. */
WIDE static void part(const question *asked, const strip *own) {
    const int width = (int)asked->value_width, size = (int)own->size;
    const int value_stride = (int)asked->value.row, weight_stride = (int)asked->n_keys;
    const int64_t left = asked->left[own->segmented], all = own->size * asked->value_width;
    const float *value = rows_of(&asked->value, own->sample, own->group, 0);
    memset(own->parts, 0, sizeof(float) * (size_t)(asked->n_segments * all));
    for (int64_t r = asked->runs_from[own->segmented]; r < asked->runs_from[own->segmented + 1]; r++) {
        const run *at = asked->runs + r;
        const int n_keys = (int)(at->stop - at->first);
        if (at->segment == left) continue;
        asked->product("N", "N", &width, &size, &n_keys, &one, value + at->first * asked->value.row, &value_stride,
                       own->weights + at->first, &weight_stride, &one, own->parts + at->segment * all, &width);
    }
    if (left < 0) return;
    float *rest = own->parts + left * all;
    for (int64_t i = 0; i < own->size; i++)
        multiply(rest + i * width, row_of(&asked->output, asked, own, i), own->totals[i], width);
    for (int64_t s = 0; s < asked->n_segments; s++)
        if (s != left) subtract(rest, own->parts + s * all, all);
}

/* Find out what the parts become in the residual stream. */
static const float *write(const question *asked, const strip *own) {
    const int width = (int)asked->value_width, n = (int)own->n;
    const int64_t factors = own->sample / asked->samples_per_factor * asked->n_heads;
    if (!asked->factor) return own->parts;
    for (int64_t i = 0; i < own->size; i += own->n) {
        const float *factor = asked->factor + (factors + head_of(asked, own, i)) * width * width;
        for (int64_t s = 0; s < asked->n_segments; s++) {
            const int64_t first = (s * own->size + i) * width;
            asked->product("T", "N", &width, &n, &width, &one, factor, &width, own->parts + first, &width, &zero,
                           own->written + first, &width);
        }
    }
    return own->written;
}

/* Write down each segment's share of what the heads write. */
WIDE static void share(const question *asked, const strip *own, const float *written) {
    const int64_t n_segments = asked->n_segments, width = asked->value_width;
    for (int64_t i = 0; i < own->size; i++) {
        float *shares = asked->contribution + place_of(asked, own, i) * n_segments, all = 0.0f;
        for (int64_t s = 0; s < n_segments; s++) {
            /* What others leave of a whole is never quite nothing. */
            const int is_empty = own->masses[i * n_segments + s] == 0.0f;
            shares[s] = is_empty ? 0.0f : norm(written + (s * own->size + i) * width, width);
            all += shares[s];
        }
        for (int64_t s = 0; s < n_segments; s++) shares[s] /= all;
    }
}

/* Numbers of room that a thread needs for strips of so many rows of each head. */
int64_t strip_room(const question *asked, int64_t n_rows) {
    const int64_t parts = 2 * asked->n_segments * asked->value_width;
    return n_rows * asked->n_shared * (asked->width + asked->n_keys + 1 + asked->n_segments + parts);
}

static strip strip_in(float *room, const question *asked, int64_t sample, int64_t group, int64_t row) {
    const int64_t left = asked->n_rows - row, n = left < asked->n_together ? left : asked->n_together;
    strip own = {.sample = sample, .group = group, .row = row, .n = n, .size = n * asked->n_shared, .queries = room};
    own.segmented = sample % asked->n_segmented;
    own.weights = own.queries + own.size * asked->width;
    own.totals = own.weights + own.size * asked->n_keys;
    own.masses = own.totals + own.size;
    own.parts = own.masses + own.size * asked->n_segments;
    own.written = own.parts + own.size * asked->n_segments * asked->value_width;
    return own;
}

/* Weigh every row; threads take one strip after the other. */
void weigh_strips(const question *asked, int n_threads) {
    const int64_t n_groups = asked->n_heads / asked->n_shared;
    const int64_t n_strips = (asked->n_rows + asked->n_together - 1) / asked->n_together;
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
    for (int64_t at = 0; at < asked->n_samples * n_groups * n_strips; at++) {
        float *room = asked->room + omp_get_thread_num() * asked->room_size;
        const strip own = strip_in(room, asked, at / n_strips / n_groups, at / n_strips % n_groups,
                                   at % n_strips * asked->n_together);
        score(asked, &own);
        weigh(asked, &own);
        if (asked->contribution) {
            part(asked, &own);
            share(asked, &own, write(asked, &own));
        }
    }
}
