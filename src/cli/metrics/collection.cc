#include "cli/metrics/collection.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/visible.h"
#include "cli/metrics/catalog.h"

namespace weir::cli {

namespace {

std::string without_links(const std::string& directory) {
  const std::unique_ptr<char, decltype(&std::free)> path(::realpath(directory.c_str(), nullptr),
                                                         &std::free);
  return path ? path.get() : directory;
}

}  // namespace

Collection::Collection(const std::string& archive)
    : labels_({{"archive", without_links(archive)}}) {}

void Collection::add(std::string_view name, double value, Labels more) {
  auto labels = labels_;
  labels.insert(labels.end(), more.begin(), more.end());
  // Prometheus rejects everything if one label is not UTF-8; a path need not be.
  for (auto& [label, text] : labels) text = visible(text);
  family(name).samples.push_back({std::move(labels), value});
}

void Collection::add_time(std::string_view name, std::chrono::system_clock::time_point time,
                          Labels more) {
  add(name, seconds(std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch())),
      std::move(more));
}

void Collection::add_choice(std::string_view name, const std::string& label,
                            std::initializer_list<std::string_view> choices, std::string_view now,
                            const Labels& more) {
  bool known = false;
  for (const auto choice : choices) {
    auto labels = more;
    labels.emplace_back(label, choice);
    known |= choice == now;
    add(name, choice == now ? 1 : 0, std::move(labels));
  }
  if (known || now.empty()) return;
  auto labels = more;
  labels.emplace_back(label, now);
  add(name, 1, std::move(labels));
}

metrics::Family& Collection::family(std::string_view name) {
  const auto known = std::find_if(families_.begin(), families_.end(),
                                  [&](const auto& family) { return family.metric.name == name; });
  return known != families_.end() ? *known
                                  : families_.emplace_back(metrics::Family{metric_named(name), {}});
}

}  // namespace weir::cli
