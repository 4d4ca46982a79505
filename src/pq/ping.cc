#include "pq/ping.h"

#include <libpq-fe.h>

#include <vector>

#include "pq/conninfo.h"

namespace weir::pq {

bool answers(const std::string& conninfo, std::size_t host) {
  auto all = expand_conninfo(conninfo);
  const auto value = [&](std::string_view keyword) {
    const auto found = all.find(keyword);
    return found == all.end() ? std::string() : found->second;
  };
  const auto one = split_hosts(value("host"), value("hostaddr"), value("port")).at(host);
  all["host"] = one.host;
  all["hostaddr"] = one.hostaddr;
  all["port"] = one.port;
  all["connect_timeout"] = "5";
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, text] : all) {
    keywords.push_back(keyword.c_str());
    values.push_back(text.c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  const auto ping = PQpingParams(keywords.data(), values.data(), 0);
  return ping == PQPING_OK || ping == PQPING_REJECT;
}

}  // namespace weir::pq
