#include "pq/shutdown_probe.h"

#include <libpq-fe.h>

#include <vector>

namespace weir::pq {

ShutdownProbe::ShutdownProbe(const Connection& connection)
    : values_(values_of(connection.handle())) {
  values_["connect_timeout"] = "5";
}

bool ShutdownProbe::server_shuts_down() const {
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : values_) {
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  return PQpingParams(keywords.data(), values.data(), 0) == PQPING_REJECT;
}

}  // namespace weir::pq
