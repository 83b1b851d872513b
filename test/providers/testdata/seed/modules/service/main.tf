variable "name" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "ami" {
  type = string
}

variable "instance_type" {
  type = string
}

variable "ports" {
  type = list(number)
}

variable "instances" {
  type = number
}

variable "tags" {
  type = map(string)
}

resource "cloud_security_group" "this" {
  name        = "${var.name}-sg"
  description = "Security group for ${var.name} servers"
  vpc_id      = var.vpc_id
  tags        = var.tags

  dynamic "ingress" {
    for_each = toset(var.ports)

    content {
      from_port   = ingress.value
      to_port     = ingress.value
      protocol    = "tcp"
      cidr_blocks = ["0.0.0.0/0"]
    }
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "cloud_instance" "this" {
  count = var.instances

  ami                    = var.ami
  instance_type          = var.instance_type
  subnet_id              = var.subnet_ids[count.index % length(var.subnet_ids)]
  vpc_security_group_ids = [cloud_security_group.this.id]
  user_data              = "#!/bin/sh\nexec ${var.name}\n"
  tags                   = merge(var.tags, { Name = "${var.name}-${count.index}" })

  root_disk = {
    size = 20
  }

  disk {
    device = "/dev/sdb"
    size   = 100
  }

  timeouts {
    create = "2m"
    delete = "2m"
  }

  lifecycle {
    create_before_destroy = true
  }
}

output "private_ips" {
  value = cloud_instance.this[*].private_ip
}
