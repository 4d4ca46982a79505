#include "metrics/module/module.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/text_serializer.h>

#include <cstring>
#include <memory>
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

class Collector final : public prometheus::Collectable {
 public:
  Collector(pgweir_collect collect, void* context) : collect_(collect), context_(context) {}

  Families Collect() const override {
    Families families;
    collect_(
        context_,
        [](void* taker, const pgweir_family* from, size_t count) {
          try {
            *static_cast<Families*>(taker) = families_of(from, count);
          } catch (const std::exception&) {
            // Out of memory: this answer stays empty.
          }
        },
        &families);
    return families;
  }

 private:
  pgweir_collect collect_;
  void* context_;
};

struct Listener {
  Listener(const std::string& address, pgweir_collect collect, void* context)
      : collector(std::make_shared<Collector>(collect, context)),
        exposer(std::vector<std::string>{"listening_ports", address, "num_threads", "2",
                                         "request_timeout_ms", "10000"}) {
    exposer.RegisterCollectable(collector);
  }
  std::shared_ptr<Collector> collector;  // the exposer looks at it only while it lives
  prometheus::Exposer exposer;
};

void* listen(const char* address, pgweir_collect collect, void* context, pgweir_take_text refused,
             void* taker) {
  try {
    return new Listener(address, collect, context);
  } catch (const std::exception& error) {
    refused(taker, error.what(), std::strlen(error.what()));
    return nullptr;
  }
}

void stop(void* listener) { delete static_cast<Listener*>(listener); }

}  // namespace

extern "C" __attribute__((visibility("default")))
const pgweir_metrics_module pgweir_metrics = {PGWEIR_METRICS_INTERFACE, &text, &listen, &stop};
