/*
 * bench/plot.c - throughput and latency against clients, as an SVG that needs nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

enum { WIDTH = 460, HEIGHT = 300, LEFT = 64, TOP = 40, ROOM = 130, TICKS = 4 };

static const char *const colours[MODES_MAX] = {"#555555", "#999999", "#1f77b4", "#17becf",
                                               "#d62728", "#2ca02c", "#9467bd", "#8c564b"};

typedef double value_fn(const struct figures *figures);

static double throughput(const struct figures *figures)
{
    return (double)figures->transactions / figures->wall_s;
}

static double median_ms(const struct figures *figures)
{
    return percentile_ms(figures, 0.5);
}

/* Each number of clients has a place, whatever its distance to the next. */
static uint32_t place_of(const struct figures *all, const struct figures *figures)
{
    uint32_t place = 0;
    for (const struct figures *at = all; at < figures; at++)
        if (at->mode == all[0].mode && at->clients != figures->clients)
            place++;
    return place;
}

static double x_of(double offset, uint32_t place, uint32_t places)
{
    return offset + LEFT + (places > 1 ? (double)place * WIDTH / (places - 1) : WIDTH / 2.0);
}

static double y_of(double value, double most)
{
    return TOP + HEIGHT - value / most * HEIGHT;
}

static void draw_axes(FILE *file, double offset, const char *title, double most)
{
    fprintf(file, "<text x='%.0f' y='24' font-weight='bold'>%s</text>\n", offset + LEFT, title);
    for (int i = 0; i <= TICKS; i++) {
        double value = most * i / TICKS, y = y_of(value, most);
        fprintf(file,
                "<line x1='%.0f' x2='%.0f' y1='%.1f' y2='%.1f' stroke='#ddd'/>"
                "<text x='%.0f' y='%.1f' text-anchor='end'>%.6g</text>\n",
                offset + LEFT, offset + LEFT + WIDTH, y, y, offset + LEFT - 6, y + 4, value);
    }
}

static void draw_mode(FILE *file, double offset, const struct figures *all, uint32_t count,
                      const struct mode *mode, const char *colour, uint32_t places, double most,
                      value_fn *value)
{
    fprintf(file, "<polyline fill='none' stroke-width='2' stroke='%s' points='", colour);
    for (const struct figures *at = all; at < all + count; at++)
        if (at->mode == mode)
            fprintf(file, "%.1f,%.1f ", x_of(offset, place_of(all, at), places),
                    y_of(value(at), most));
    fputs("'/>\n", file);
}

static void draw_chart(FILE *file, double offset, const char *title, const struct figures *all,
                       uint32_t count, uint32_t mode_count, value_fn *value)
{
    uint32_t places = count / mode_count;
    double most = 0;
    for (const struct figures *at = all; at < all + count; at++)
        most = value(at) > most ? value(at) : most;
    most = most > 0 ? most * 1.05 : 1;
    draw_axes(file, offset, title, most);
    for (uint32_t i = 0; i < places; i++)
        fprintf(file, "<text x='%.1f' y='%d' text-anchor='middle'>%u</text>\n",
                x_of(offset, i, places), TOP + HEIGHT + 18, all[i * mode_count].clients);
    for (uint32_t i = 0; i < mode_count; i++)
        draw_mode(file, offset, all, count, all[i].mode, colours[i], places, most, value);
}

void plot(const char *path, const struct figures *all, uint32_t count)
{
    uint32_t mode_count = 0;
    FILE *file = fopen(path, "w");
    if (file == NULL)
        stop("cannot write %s", path);
    while (mode_count < count && all[mode_count].clients == all[0].clients)
        mode_count++;
    fprintf(file,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d'"
            " font-family='sans-serif' font-size='12'>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n",
            2 * (WIDTH + LEFT) + ROOM + 20, TOP + HEIGHT + 40);
    draw_chart(file, 0, "transactions/s, against clients", all, count, mode_count, throughput);
    draw_chart(file, WIDTH + LEFT, "median latency in ms, against clients", all, count, mode_count,
               median_ms);
    for (uint32_t i = 0; i < mode_count; i++)
        fprintf(file, "<text x='%d' y='%u' fill='%s'>%s</text>\n", 2 * (WIDTH + LEFT) + 20,
                TOP + 20 * (i + 1), colours[i], all[i].mode->name);
    fputs("</svg>\n", file);
    if (fclose(file) != 0)
        stop("cannot write %s", path);
}
