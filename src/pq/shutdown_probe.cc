#include "pq/shutdown_probe.h"

#include <libpq-fe.h>

#include <memory>
#include <new>
#include <string_view>

namespace weir::pq {

namespace {

constexpr std::string_view kTimeout = "5";

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

}  // namespace

ShutdownProbe::ShutdownProbe(const Connection& connection) {
  const std::unique_ptr<PQconninfoOption, FreeOptions> options(PQconninfo(connection.handle()));
  if (!options) throw std::bad_alloc();
  for (const auto* option = options.get(); option->keyword != nullptr; ++option) {
    const std::string_view keyword = option->keyword;
    if (option->val == nullptr || keyword == "connect_timeout") continue;
    keywords_.emplace_back(keyword);
    values_.emplace_back(option->val);
  }
  keywords_.emplace_back("connect_timeout");
  values_.emplace_back(kTimeout);
}

bool ShutdownProbe::server_shuts_down() const {
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& keyword : keywords_) keywords.push_back(keyword.c_str());
  for (const auto& value : values_) values.push_back(value.c_str());
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  return PQpingParams(keywords.data(), values.data(), 0) == PQPING_REJECT;
}

}  // namespace weir::pq
