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

/* Rows are weighed side by side, each in a lane of wide registers; a strip has a multiple of so many lanes. */
#define LANES 16
/* Weights are added up in groups of so many keys first, which keeps rounding errors small. */
#define KEYS_AT_ONCE 64

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
    int64_t n_lanes;   /* the same, and as many empty lanes as are needed */
    int64_t segmented; /* sample that has the same segments */
    float *queries;    /* (number, lane), times the scale */
    float *weights;    /* (key, lane) */
    float *totals;     /* (lane) */
    float *masses;     /* (lane, segment) */
    float *parts, *written; /* (segment, row of all heads together, value width) */
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

LOOP void subtract(float *from, const float *what, int64_t n) {
    for (int64_t i = 0; i < n; i++) from[i] -= what[i];
}

LOOP void multiply(float *to, const float *from, float by, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] = from[i] * by;
}

LOOP float norm(const float *numbers, int64_t n) {
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++) squares += numbers[i] * numbers[i];
    return sqrtf(squares);
}

/* Define a function that makes scores of all keys in every lane: (key, lane), of queries (number, lane).
 *
 * A tile is some keys in the lanes of two registers (`n_wide` each), with as many sums as the kind of processor keeps in
 * registers until they are whole. The last tile makes some scores again where fewer keys are left; there must be enough
 * for one.
 */
#define DEFINE_DOT_PRODUCTS(name, kind, n_wide, tile_keys)                                                             \
    kind void name(const float *query, int64_t n_lanes, int64_t width, const float *key, int64_t stride,               \
                   int64_t n_keys, float *scores) {                                                                    \
        typedef float wide __attribute__((vector_size(n_wide * sizeof(float)), aligned(sizeof(float))));               \
        for (int64_t next = 0; next < n_keys; next += tile_keys) {                                                     \
            const int64_t first = next + tile_keys <= n_keys ? next : n_keys - tile_keys;                              \
            for (int64_t lane = 0; lane < n_lanes; lane += 2 * n_wide) {                                               \
                wide left[tile_keys] = {0}, right[tile_keys] = {0};                                                    \
                for (int64_t i = 0; i < width; i++) {                                                                  \
                    const wide *numbers = (const wide *)(query + i * n_lanes + lane);                                  \
                    for (int64_t k = 0; k < tile_keys; k++) {                                                          \
                        left[k] += key[(first + k) * stride + i] * numbers[0];                                         \
                        right[k] += key[(first + k) * stride + i] * numbers[1];                                        \
                    }                                                                                                  \
                }                                                                                                      \
                for (int64_t k = 0; k < tile_keys; k++) {                                                              \
                    wide *made = (wide *)(scores + (first + k) * n_lanes + lane);                                      \
                    made[0] = left[k];                                                                                 \
                    made[1] = right[k];                                                                                \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

#define MOST_TILE_KEYS 12
DEFINE_DOT_PRODUCTS(dot_products_of_few, , 4, 1)
DEFINE_DOT_PRODUCTS(dot_products, , 4, 4)
#if defined(__x86_64__)
DEFINE_DOT_PRODUCTS(dot_products_avx2, __attribute__((target("avx2,fma"))), 8, 6)
DEFINE_DOT_PRODUCTS(dot_products_avx512, __attribute__((target("avx512f"))), 16, MOST_TILE_KEYS)
#endif

typedef void (*dot_products_function)(const float *, int64_t, int64_t, const float *, int64_t, int64_t, float *);

static dot_products_function dot_products_for(int64_t n_lanes, int64_t n_keys) {
    if (n_keys < MOST_TILE_KEYS) return dot_products_of_few;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && n_lanes % (2 * LANES) == 0) return dot_products_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return dot_products_avx2;
#endif
    return dot_products;
}

/* Add numbers of some rows, a row's side by side, to the scores of as many lanes. */
LOOP void add_across(float *scores, int64_t n_lanes, const float *const *rows, int64_t n_rows, int64_t n_keys) {
    for (int64_t key = 0; key < n_keys; key++)
        for (int64_t i = 0; i < n_rows; i++) scores[key * n_lanes + i] += rows[i][key];
}

/* Make the scores of a strip. */
WIDE static void score(const question *asked, const strip *own) {
    const int64_t width = asked->width, n_lanes = own->n_lanes;
    memset(own->queries, 0, sizeof(float) * (size_t)(width * n_lanes));
    for (int64_t i = 0; i < own->size; i++) {
        const float *query = row_of(&asked->query, asked, own, i);
        for (int64_t j = 0; j < width; j++) own->queries[j * n_lanes + i] = query[j] * asked->scale;
    }
    dot_products_for(n_lanes, asked->n_keys)(own->queries, n_lanes, width,
                                             rows_of(&asked->key, own->sample, own->group, 0), asked->key.row,
                                             asked->n_keys, own->weights);
    for (int64_t a = 0; a < asked->n_additions; a++) {
        const addition *added = &asked->additions[a];
        for (int64_t first = 0; first < own->size; first += LANES) {
            const int64_t n = own->size - first < LANES ? own->size - first : LANES;
            const float *rows[LANES];
            for (int64_t i = 0; i < n; i++)
                rows[i] = rows_of(&added->values, own->sample % added->n_samples, head_of(asked, own, first + i),
                                  own->row + (first + i) % own->n);
            add_across(own->weights + added->first_key * n_lanes + first, n_lanes, rows, n, added->n_keys);
        }
    }
}

/* Turn scores of a row in each lane into weights, the largest score's being 1. `mass` grows by their sum. Where more is
 * wanted, weights take the place of scores, and `surprise` grows by the sum of each times its logarithm.
 *
 * exp(x) = 2^k exp(r): adding 1.5 * 2^23 rounds x / log 2 to the integer k and leaves it in the lowest bits, and on
 * |r| <= log(2) / 2 a polynomial is exact to a float's last bit (the coefficients are those of Cephes' expf).
 */
LOOP void exponentials(float *scores, int64_t n_lanes, int64_t n_keys, const float *most, float *mass, float *surprise,
                       int more_wanted) {
    for (int64_t first = 0; first < n_keys; first += KEYS_AT_ONCE) {
        const int64_t stop = first + KEYS_AT_ONCE < n_keys ? first + KEYS_AT_ONCE : n_keys;
        float some[LANES] = {0}, surprises[LANES] = {0};
        for (int64_t key = first; key < stop; key++) {
#pragma omp simd
            for (int i = 0; i < LANES; i++) {
                float below = scores[key * n_lanes + i] - most[i];
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
                some[i] += weight;
                if (more_wanted) {
                    scores[key * n_lanes + i] = weight;
                    surprises[i] += weight * logarithm;
                }
            }
        }
        for (int i = 0; i < LANES; i++) {
            mass[i] += some[i];
            surprise[i] += surprises[i];
        }
    }
}

/* Turn scores into weights, and write down masses and entropies, for a row in each lane. */
LOOP void weigh_lanes(const question *asked, const strip *own, int64_t lane, int more_wanted) {
    const int64_t n_lanes = own->n_lanes, n_segments = asked->n_segments;
    float *weights = own->weights + lane, *totals = own->totals + lane, *masses = own->masses + lane * n_segments;
    float most[LANES], surprise[LANES] = {0};
    for (int i = 0; i < LANES; i++) most[i] = -INFINITY;
    for (int64_t key = 0; key < asked->n_keys; key++)
        for (int i = 0; i < LANES; i++) most[i] = LARGER(weights[key * n_lanes + i], most[i]);
    memset(totals, 0, sizeof(float) * LANES);
    memset(masses, 0, sizeof(float) * (size_t)(LANES * n_segments));
    int64_t key = 0;
    for (int64_t r = asked->runs_from[own->segmented]; r < asked->runs_from[own->segmented + 1]; r++) {
        const run *at = asked->runs + r;
        float mass[LANES] = {0};
        /* Padding before it is in no segment. */
        exponentials(weights + key * n_lanes, n_lanes, at->first - key, most, totals, surprise, more_wanted);
        exponentials(weights + at->first * n_lanes, n_lanes, at->stop - at->first, most, mass, surprise, more_wanted);
        for (int i = 0; i < LANES; i++) {
            totals[i] += mass[i];
            masses[i * n_segments + at->segment] += mass[i];
        }
        key = at->stop;
    }
    exponentials(weights + key * n_lanes, n_lanes, asked->n_keys - key, most, totals, surprise, more_wanted);
    for (int64_t i = 0; i < LANES && lane + i < own->size; i++) {
        const int64_t place = place_of(asked, own, lane + i);
        for (int64_t s = 0; s < n_segments; s++)
            asked->mass[place * n_segments + s] = masses[i * n_segments + s] / totals[i];
        if (asked->entropy) asked->entropy[place] = logf(totals[i]) - surprise[i] / totals[i];
    }
}

WIDE static void weigh(const question *asked, const strip *own) {
    /* Told apart here, so that loops that only add up are made without the rest. */
    if (asked->entropy || asked->contribution)
        for (int64_t lane = 0; lane < own->size; lane += LANES) weigh_lanes(asked, own, lane, 1);
    else
        for (int64_t lane = 0; lane < own->size; lane += LANES) weigh_lanes(asked, own, lane, 0);
}

/* Take the products of each segment's weights and values; one segment's part may be what the others leave. */
WIDE static void part(const question *asked, const strip *own) {
    const int width = (int)asked->value_width, size = (int)own->size;
    const int value_stride = (int)asked->value.row, n_lanes = (int)own->n_lanes;
    const int64_t left = asked->left[own->segmented], all = own->size * asked->value_width;
    const float *value = rows_of(&asked->value, own->sample, own->group, 0);
    memset(own->parts, 0, sizeof(float) * (size_t)(asked->n_segments * all));
    for (int64_t r = asked->runs_from[own->segmented]; r < asked->runs_from[own->segmented + 1]; r++) {
        const run *at = asked->runs + r;
        const int n_keys = (int)(at->stop - at->first);
        if (at->segment == left) continue;
        asked->product("N", "T", &width, &size, &n_keys, &one, value + at->first * asked->value.row, &value_stride,
                       own->weights + at->first * own->n_lanes, &n_lanes, &one, own->parts + at->segment * all, &width);
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

static int64_t lanes_of(int64_t size) {
    return (size + LANES - 1) / LANES * LANES;
}

/* Numbers of room that a thread needs for strips of so many rows of each head. */
int64_t strip_room(const question *asked, int64_t n_rows) {
    const int64_t parts = 2 * asked->n_segments * asked->value_width;
    return lanes_of(n_rows * asked->n_shared) * (asked->width + asked->n_keys + 1 + asked->n_segments + parts);
}

static strip strip_in(float *room, const question *asked, int64_t sample, int64_t group, int64_t row) {
    const int64_t left = asked->n_rows - row, n = left < asked->n_together ? left : asked->n_together;
    strip own = {.sample = sample, .group = group, .row = row, .n = n, .size = n * asked->n_shared, .queries = room};
    own.n_lanes = lanes_of(own.size);
    own.segmented = sample % asked->n_segmented;
    own.weights = own.queries + own.n_lanes * asked->width;
    own.totals = own.weights + own.n_lanes * asked->n_keys;
    own.masses = own.totals + own.n_lanes;
    own.parts = own.masses + own.n_lanes * asked->n_segments;
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
