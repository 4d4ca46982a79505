#pragma once

#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metrics/family.h"

namespace weir::cli {

/// Families of metrics that are being filled, with the labels that all samples share. Each name is
/// one of the catalog's. One thread.
class Collection {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  /// Every metric has the label `archive`: the directory's path without links, so that receiver,
  /// status and verify agree however it was written.
  explicit Collection(const std::string& archive);

  void add(std::string_view name, double value, Labels more = {});
  template <typename Integer>
  void add_count(std::string_view name, Integer value, Labels more = {}) {
    add(name, static_cast<double>(value), std::move(more));
  }
  void add_time(std::string_view name, std::chrono::system_clock::time_point time,
                Labels more = {});
  /// 1 for the one of `choices` that is `now`, 0 for the others. An unknown one is added; an empty
  /// one is none of them.
  void add_choice(std::string_view name, const std::string& label,
                  std::initializer_list<std::string_view> choices, std::string_view now,
                  const Labels& more = {});

  [[nodiscard]] std::vector<metrics::Family> take() { return std::move(families_); }

 private:
  metrics::Family& family(std::string_view name);

  Labels labels_;
  std::vector<metrics::Family> families_;
};

[[nodiscard]] inline double seconds(std::chrono::milliseconds time) {
  return static_cast<double>(time.count()) / 1000;
}

}  // namespace weir::cli
