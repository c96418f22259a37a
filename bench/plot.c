/*
 * bench/plot.c - throughput and latency, against the clients or the databases, as an SVG that needs
 * nothing else.
 *
 * Each number on the way has a place of its own, whatever its distance to the next. Latency is
 * drawn by its logarithm: what is twice as long is as far away everywhere. A mode has its colour in
 * every picture, and its name where its line ends.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

enum {
    WIDTH = 300, /* of the area with the lines, and around it: */
    HEIGHT = 260,
    LEFT = 62,
    RIGHT = 128,
    TOP = 48,
    BOTTOM = 52,
    LABEL_HEIGHT = 15,
    TICKS = 5, /* about */
};

typedef double value_fn(const struct figures *figures);

struct chart {
    FILE *file;
    const struct figures *all;
    uint32_t count, mode_count, places;
    const char *title;
    value_fn *value;
    double x;
    bool logarithmic;
    double least, most, step; /* of the scale; step: when it is not logarithmic */
};

/* As the modes are listed. */
static const char *const colours[MODES_MAX] = {"#6b7280", "#9096a3", "#1d4ed8", "#38a3f5",
                                               "#d62828", "#6d28d9", "#0f8a5f", "#7cb518",
                                               "#f08c00", "#c026a3"};

static double throughput(const struct figures *figures)
{
    return (double)figures->transactions / figures->wall_s;
}

static double median_ms(const struct figures *figures)
{
    return percentile_ms(figures, 0.5);
}

static bool against_databases(const struct chart *chart)
{
    return chart->all[0].databases != chart->all[chart->count - 1].databases;
}

/* ---- the scale: 1, 2, 5, 10, ... ---- */

/* The largest of them that is at most `value`. */
static double round_down(double value)
{
    double decade = pow(10, floor(log10(value) + 1e-9)), share = value / decade + 1e-9;
    return decade * (share >= 5 ? 5 : share >= 2 ? 2 : 1);
}

static double next_round(double value)
{
    double decade = pow(10, floor(log10(value) + 1e-9)), share = value / decade + 1e-9;
    return decade * (share >= 5 ? 10 : share >= 2 ? 5 : 2);
}

static double next_tick(const struct chart *chart, double tick)
{
    return chart->logarithmic ? next_round(tick) : tick + chart->step;
}

static void set_scale(struct chart *chart)
{
    double most = 0, least = 0;
    for (uint32_t i = 0; i < chart->count; i++) {
        double value = chart->value(&chart->all[i]);
        most = value > most ? value : most;
        least = i == 0 || value < least ? value : least;
    }
    /* Nothing was done in no time: then there is nothing to see. */
    most = most > 0 ? most : 1;
    least = least > 0 ? least : most;
    chart->step = next_round(most / TICKS / 1.5);
    chart->least = chart->logarithmic ? round_down(least) : 0;
    for (chart->most = next_tick(chart, chart->least); chart->most < most;)
        chart->most = next_tick(chart, chart->most);
}

static double y_of(const struct chart *chart, double value)
{
    if (value < chart->least)
        value = chart->least;
    double share = chart->logarithmic ? log(value / chart->least) / log(chart->most / chart->least)
                                      : value / chart->most;
    return TOP + HEIGHT - share * HEIGHT;
}

static double x_of(const struct chart *chart, uint32_t place)
{
    return chart->x +
           (chart->places > 1 ? (double)place * WIDTH / (chart->places - 1) : WIDTH / 2.0);
}

/* ---- drawing ---- */

static void draw_number(FILE *file, double value)
{
    if (value >= 1000)
        fprintf(file, "%.0f,%03.0f", floor(value / 1000), fmod(value, 1000));
    else
        fprintf(file, "%g", value);
}

static void draw_frame(const struct chart *chart)
{
    FILE *file = chart->file;
    fprintf(file, "<text x='%.0f' y='26' class='title'>%s</text>\n", chart->x, chart->title);
    for (double tick = chart->least; tick < chart->most * 1.0001; tick = next_tick(chart, tick)) {
        double y = y_of(chart, tick);
        fprintf(file, "<path class='grid' d='M%.0f %.1fh%d'/>", chart->x, y, WIDTH);
        fprintf(file, "<text class='scale' x='%.0f' y='%.1f' text-anchor='end'>", chart->x - 8,
                y + 4);
        draw_number(file, tick);
        fputs("</text>\n", file);
    }
    for (uint32_t i = 0; i < chart->places; i++) {
        const struct figures *at = &chart->all[i * chart->mode_count];
        fprintf(file, "<text class='scale' x='%.1f' y='%d' text-anchor='middle'>%u</text>\n",
                x_of(chart, i), TOP + HEIGHT + 20,
                against_databases(chart) ? at->databases : at->clients);
    }
    fprintf(file, "<text class='scale' x='%.1f' y='%d' text-anchor='middle'>%s</text>\n",
            chart->x + WIDTH / 2.0, TOP + HEIGHT + 40,
            against_databases(chart) ? "databases in a transaction" : "clients");
}

static const char *colour_of(const struct mode *mode)
{
    return colours[mode - modes];
}

static const struct figures *figures_at(const struct chart *chart, uint32_t mode, uint32_t place)
{
    return &chart->all[place * chart->mode_count + mode];
}

static void draw_line(const struct chart *chart, uint32_t mode)
{
    const struct mode *drawn = chart->all[mode].mode;
    fprintf(chart->file, "<g stroke='%s' fill='%s'>", colour_of(drawn), colour_of(drawn));
    /* The baselines, which ask nobody, are dashed. */
    fprintf(chart->file, "<polyline class='line'%s points='",
            drawn->protocol == NULL ? " stroke-dasharray='5 4'" : "");
    for (uint32_t i = 0; i < chart->places; i++)
        fprintf(chart->file, "%.1f,%.1f ", x_of(chart, i),
                y_of(chart, chart->value(figures_at(chart, mode, i))));
    fputs("'/>", chart->file);
    for (uint32_t i = 0; i < chart->places; i++)
        fprintf(chart->file, "<circle cx='%.1f' cy='%.1f' r='3'/>", x_of(chart, i),
                y_of(chart, chart->value(figures_at(chart, mode, i))));
    fputs("</g>\n", chart->file);
}

static double end_of(const struct chart *chart, uint32_t mode)
{
    return y_of(chart, chart->value(figures_at(chart, mode, chart->places - 1)));
}

/* From the top down; a name that would lie upon another one makes room, and none leaves the
 * picture. */
static void draw_names(const struct chart *chart)
{
    uint32_t order[MODES_MAX] = {0};
    double y = 0;
    for (uint32_t i = 0; i < chart->mode_count; i++) {
        uint32_t at = i;
        for (; at > 0 && end_of(chart, order[at - 1]) > end_of(chart, i); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    for (uint32_t i = 0; i < chart->mode_count; i++) {
        double wanted = end_of(chart, order[i]), below = chart->mode_count - 1 - i;
        double lowest = TOP + HEIGHT - below * LABEL_HEIGHT;
        wanted = wanted < lowest ? wanted : lowest;
        y = i == 0 || wanted > y + LABEL_HEIGHT ? wanted : y + LABEL_HEIGHT;
        const struct mode *mode = chart->all[order[i]].mode;
        fprintf(chart->file, "<text x='%d' y='%.1f' fill='%s'>%s</text>\n",
                (int)chart->x + WIDTH + 10, y + 4, colour_of(mode), mode->name);
    }
}

static void draw_chart(struct chart *chart)
{
    set_scale(chart);
    draw_frame(chart);
    for (uint32_t i = 0; i < chart->mode_count; i++)
        draw_line(chart, i);
    draw_names(chart);
}

void plot(const char *path, const struct figures *all, uint32_t count)
{
    struct chart chart = {.all = all, .count = count, .x = LEFT};
    chart.file = fopen(path, "w");
    if (chart.file == NULL)
        stop("cannot write %s", path);
    while (chart.mode_count < count && all[chart.mode_count].clients == all[0].clients &&
           all[chart.mode_count].databases == all[0].databases)
        chart.mode_count++;
    chart.places = count / chart.mode_count;
    fprintf(chart.file,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d'"
            " font-family='Helvetica, Arial, sans-serif' font-size='12'>\n"
            "<style>.title{font-weight:bold;font-size:14px}.scale{fill:#4b5563}"
            ".grid{stroke:#e5e7eb}.line{fill:none;stroke-width:2;stroke-linejoin:round}</style>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n",
            2 * (LEFT + WIDTH + RIGHT), TOP + HEIGHT + BOTTOM, 2 * (LEFT + WIDTH + RIGHT));
    chart.title = "transactions a second";
    chart.value = throughput;
    draw_chart(&chart);
    chart.title = "median latency, ms";
    chart.value = median_ms;
    chart.logarithmic = true;
    chart.x += LEFT + WIDTH + RIGHT;
    draw_chart(&chart);
    fputs("</svg>\n", chart.file);
    if (fclose(chart.file) != 0)
        stop("cannot write %s", path);
}
