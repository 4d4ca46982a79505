#include "metrics/module/module.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

using Families = std::vector<prometheus::MetricFamily>;

Families families_of(const pgweir_family* families, size_t count) {
  Families result;
  for (size_t i = 0; i < count; ++i) {
    const auto& from = families[i];
    prometheus::MetricFamily family;
    family.name = from.name;
    family.help = from.help;
    family.type = from.counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    for (size_t k = 0; k < from.sample_count; ++k) {
      const auto& sample = from.samples[k];
      prometheus::ClientMetric metric;
      for (size_t n = 0; n < sample.label_count; ++n)
        metric.label.push_back({sample.labels[n].name, sample.labels[n].value});
      metric.counter.value = metric.gauge.value = sample.value;
      family.metric.push_back(std::move(metric));
    }
    result.push_back(std::move(family));
  }
  return result;
}

int text(const pgweir_family* families, size_t count, pgweir_take_text take, void* taker) {
  try {
    const auto result = prometheus::TextSerializer().Serialize(families_of(families, count));
    take(taker, result.data(), result.size());
    return 0;
  } catch (const std::exception& error) {
    take(taker, error.what(), std::strlen(error.what()));
    return -1;
  }
}

}  // namespace

extern "C" __attribute__((visibility("default")))
const pgweir_metrics_module pgweir_metrics = {PGWEIR_METRICS_INTERFACE, &text};
